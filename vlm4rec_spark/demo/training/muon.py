"""Muon: momentum whose update is orthogonalised, for the matrices of a network.

Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon:
    """Matrices of one shape are stacked and updated together."""

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        momentum: float = 0.95,
        weight_decay: float = 0.02,
    ) -> None:
        """Group `matrices` (all two-dimensional) by shape."""
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.groups: dict[tuple[int, int], list[torch.nn.Parameter]] = {}
        self.averages: dict[tuple[int, int], torch.Tensor] = {}
        for matrix in matrices:
            shape = (min(matrix.shape), max(matrix.shape))
            self.groups.setdefault(shape, []).append(matrix)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for matrices in self.groups.values():
            for matrix in matrices:
                matrix.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move every matrix by its orthogonalised momentum."""
        for shape, matrices in self.groups.items():
            gradients = torch.stack([_wide(m.grad) for m in matrices if m.grad is not None])
            average = self.averages.setdefault(shape, gradients.clone())
            average.mul_(self.momentum).add_(gradients, alpha=1 - self.momentum)
            update = orthogonalise(gradients.lerp(average, self.momentum))
            for matrix, change in zip(matrices, update, strict=True):
                rows, columns = matrix.shape
                turned = change if rows <= columns else change.T
                matrix.mul_(1 - learning_rate * self.weight_decay)
                matrix.add_(turned, alpha=-learning_rate * max(1.0, rows / columns) ** 0.5)


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """Push all singular values of (n, rows, columns) matrices to about 1 (Newton-Schulz)."""
    a, b, c = COEFFICIENTS
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-12)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _wide(matrix: torch.Tensor) -> torch.Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T

"""One optimiser step for both halves: Muon on the matrices, AdamW on everything else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from vlm4rec_spark.demo.training.muon import Muon


@dataclass(frozen=True)
class Schedule:
    """Warm up, stay for `flat_share` of the steps, then fall linearly to almost nothing."""

    steps: int
    warm_up: int
    flat_share: float
    matrix_rate: float = 0.02
    rate: float = 2e-3

    def factor(self, step: int) -> float:
        """Return what both learning rates are multiplied by."""
        fall = min(1.0, (1 - step / self.steps) / (1 - self.flat_share))
        return min(1.0, (step + 1) / self.warm_up) * fall + 0.003


class Optimiser:
    """Steps all trained parameters together."""

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        matrices: Iterable[torch.nn.Parameter],
        schedule: Schedule,
        weight_decay: float,
        clip: float,
    ) -> None:
        """`matrices` are those of `parameters` that Muon takes."""
        chosen = list(matrices)
        taken = {id(matrix) for matrix in chosen}
        self.rest = [p for p in parameters if id(p) not in taken]
        self.schedule = schedule
        self.clip = clip
        self.muon = Muon(chosen, weight_decay=weight_decay)
        self.adam = torch.optim.AdamW(
            self.rest, lr=schedule.rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True
        )

    def step(self, loss: torch.Tensor, step: int) -> float:
        """Go one step down the loss, and return its value."""
        self.muon.zero_grad()
        self.adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.rest, self.clip)
        factor = self.schedule.factor(step)
        self.muon.step(self.schedule.matrix_rate * factor)
        for group in self.adam.param_groups:
            group["lr"] = self.schedule.rate * factor
        self.adam.step()
        return float(loss.item())

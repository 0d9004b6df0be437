"""Spaces made from the catalogue: without its mean, or whitened.

Whitening (Su et al. 2021 for sentences) turns the covariance of the vectors into the identity, so
that the directions in which all items vary no longer rule the cosine. A covariance is badly known
in the directions that vary least: it is first mixed with a multiple of the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vlm4rec_spark.config_models import ProfilesConfig

Vectors = npt.NDArray[np.float32]
ROWS_A_BLOCK = 65_536
SHRINKAGE = 0.1
SMALLEST_NORM = 1e-6
"""What is nearer to the mean differs by rounding only."""


@dataclass(frozen=True)
class Space:
    """How the vectors of all items, profiles and sentences are moved."""

    kind: str = "plain"
    """plain; centred: less the mean; whitened: that, and see `whitening`."""
    facets: tuple[tuple[str, float], ...] = ()
    """Attribute, and how much it counts; see `facets`."""


PLAIN = Space()


def space_of(config: ProfilesConfig) -> Space:
    """Return the configured space."""
    kind = "whitened" if config.whiten else "centred" if config.centre else "plain"
    return Space(kind, tuple(sorted(config.facets.items())))


def mean_vector(vectors: Vectors) -> Vectors:
    """Return the mean of the rows that are finite, (d,) float32; zeros where there are none.

    The same rows in the same order give the same bytes.
    """
    total, n = np.zeros(vectors.shape[1]), 0
    for start in range(0, len(vectors), ROWS_A_BLOCK):
        block = np.asarray(vectors[start : start + ROWS_A_BLOCK])
        block = block[np.isfinite(block[:, 0])]
        total += block.sum(0, dtype=np.float64)
        n += len(block)
    return (total / max(n, 1)).astype(np.float32)


def whitening(vectors: Vectors, centre: Vectors) -> Vectors:
    """Return ((1 - s) C + s tr(C) / d)^(-1/2) of the covariance C of the rows, (d, d) float32.

    s is `SHRINKAGE`; rows of NaN do not count. Symmetric, so that it is the same for any basis.
    """
    d = vectors.shape[1]
    covariance, n = np.zeros((d, d)), 0
    for start in range(0, len(vectors), ROWS_A_BLOCK):
        block = np.asarray(vectors[start : start + ROWS_A_BLOCK], np.float64)
        block = block[np.isfinite(block[:, 0])] - centre
        covariance += block.T @ block
        n += len(block)
    covariance /= max(n, 1)
    even = np.trace(covariance) / d
    if even <= 0:
        return np.eye(d, dtype=np.float32)
    mixed = (1 - SHRINKAGE) * covariance + SHRINKAGE * even * np.eye(d)
    values, axes = np.linalg.eigh(mixed / even)
    return np.asarray((axes / np.sqrt(values)) @ axes.T, np.float32)


def without_mean(vectors: Vectors, centre: Vectors, matrix: Vectors | None = None) -> Vectors:
    """Return (v - centre) / |v - centre| for each row; a row at the centre becomes zero.

    Args:
        vectors: (n, d) float32; a row of NaN stays one.
        centre: (d,) float32.
        matrix: (d, d) that v - centre is multiplied by first: `whitening`.

    >>> rows = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    >>> without_mean(rows, mean_vector(rows)).round(3).tolist()
    [[0.707, -0.707], [-0.707, 0.707]]
    """
    moved = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), ROWS_A_BLOCK):
        block = np.asarray(vectors[start : start + ROWS_A_BLOCK], np.float64) - centre
        block = block if matrix is None else block @ matrix
        norms = np.sqrt((block * block).sum(1, keepdims=True))
        block[norms[:, 0] < SMALLEST_NORM] = 0.0
        moved[start : start + len(block)] = block / np.maximum(norms, SMALLEST_NORM)
    return moved

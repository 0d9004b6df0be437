"""Leaves of the item matrix: spherical k-means, so that alike rows stand together.

The rows of the matrix are stored leaf by leaf; a leaf is a range of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.engines import kernels

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Vectors

ONE_LEAF_BELOW = 20_000
"""Under this searching everything costs less than choosing where to search."""
LEAVES = 1.25
"""In multiples of the square root of the number of rows: more and smaller leaves scan less for the
same recall, and cost more to build and to choose from."""
SAMPLE_A_LEAF = 64
ITERATIONS = 8
ROWS_A_TILE = 4096
SEED = 20260312


@dataclass(frozen=True)
class Leaves:
    """Leaf l holds the rows `offsets[l]:offsets[l + 1]`; its centroid is row l of `centroids`."""

    centroids: Vectors
    """(leaves, d) float32, unit rows."""
    offsets: npt.NDArray[np.int64]
    """(leaves + 1,)."""

    @property
    def of_rows(self) -> npt.NDArray[np.int64]:
        """Number of the leaf of each row, (n,)."""
        return np.repeat(np.arange(len(self.centroids)), np.diff(self.offsets))


def build_leaves(vectors: Vectors) -> tuple[Leaves, npt.NDArray[np.int64]]:
    """Return the leaves of (n, d) unit rows, and the order that puts the rows leaf by leaf.

    The same rows in the same order give the same leaves.
    """
    n = len(vectors)
    if n < ONE_LEAF_BELOW:
        mean = vectors.mean(0, dtype=np.float64)[None, :] if n else np.zeros((1, vectors.shape[1]))
        return Leaves(mean.astype(np.float32), np.array([0, n])), np.arange(n)
    rng = np.random.default_rng(SEED)
    count = round(LEAVES * math.sqrt(n))
    sample = vectors[np.sort(rng.choice(n, min(n, count * SAMPLE_A_LEAF), replace=False))]
    centroids = sample[rng.choice(len(sample), count, replace=False)].copy()
    for _ in range(ITERATIONS):
        centroids = _moved(sample, nearest_leaf(sample, centroids), centroids, rng)
    return grown_leaves(centroids, nearest_leaf(vectors, centroids))


def grown_leaves(
    centroids: Vectors, leaf: npt.NDArray[np.int64]
) -> tuple[Leaves, npt.NDArray[np.int64]]:
    """Return what `build_leaves` does, for centroids that are there already.

    Args:
        centroids: (leaves, d) float32, unit rows.
        leaf: (n,) number of the leaf of each row.
    """
    order = np.argsort(leaf, kind="stable")
    offsets = np.searchsorted(leaf[order], np.arange(len(centroids) + 1))
    return Leaves(centroids, offsets.astype(np.int64)), order.astype(np.int64)


def nearest_leaf(vectors: Vectors, centroids: Vectors) -> npt.NDArray[np.int64]:
    """Return the number of the nearest centroid of each row."""
    leaf = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), ROWS_A_TILE):
        tile = vectors[start : start + ROWS_A_TILE] @ centroids.T
        leaf[start : start + ROWS_A_TILE] = tile.argmax(1)
    return leaf


def _moved(
    sample: Vectors, leaf: npt.NDArray[np.int64], centroids: Vectors, rng: np.random.Generator
) -> Vectors:
    """Return the normalised means; an empty leaf starts anew at a random row."""
    sums = np.zeros(centroids.shape, np.float64)
    counts = np.zeros(len(centroids), np.int64)
    kernels.leaf_sums(sample, leaf, sums, counts)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    usable = (norms[:, 0] > 0) & (counts > 0)
    moved = sample[rng.choice(len(sample), len(centroids))].copy()
    moved[usable] = (sums[usable] / norms[usable]).astype(np.float32)
    return moved

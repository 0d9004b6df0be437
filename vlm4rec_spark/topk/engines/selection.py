"""The best rows of many queries: so far, while scores arrive tile by tile, or among candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.engines import kernels

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Masks, Rows, Vectors

SPARE = 192
"""Places of a buffer beyond k: it is cut back to k when full."""
LOWEST = np.float32(-2.0)
"""Below every inner product of unit vectors."""


class Best:
    """Buffers of k and some rows for each query; a score enters when it beats the k-th best."""

    def __init__(self, queries: int, k: int, masks: Masks) -> None:
        self.k = k
        self.masks = masks
        self.scores = np.empty((queries, k + max(SPARE, k)), np.float32)
        self.found = np.empty(self.scores.shape, np.int32)
        self.counts = np.zeros(queries, np.int64)
        self.floors = np.full(queries, LOWEST, np.float32)

    def add(self, tile: Vectors, queries: npt.NDArray[np.int64], first_row: int) -> None:
        """Add the scores (m, n) of m queries with the n rows from `first_row` on."""
        masks = self.masks
        kernels.collect(
            tile, queries, first_row, masks.hidden, masks.starts, masks.allowed, masks.group,
            self.scores, self.found, self.counts, self.floors, self.k,
        )  # fmt: skip

    def rows(self, width: int) -> Rows:
        """Return (queries, width) rows in no order, -1 for an empty place."""
        kernels.finish(self.scores, self.found, self.counts, self.k)
        rows = np.full((len(self.found), width), -1, np.int64)
        rows[:, : self.k] = self.found[:, : self.k]
        return rows


def best_of(vectors: Vectors, queries: Vectors, candidates: Rows, k: int, masks: Masks) -> Rows:
    """Return (queries, k) rows in no order, -1 for an empty place: the best that may be given.

    Args:
        vectors: (n, d) float32 unit rows.
        queries: (queries, d) float32 unit rows.
        candidates: (queries, width) int rows, none twice in a line, -1 for none.
        k: rows wanted.
        masks: what each query may not be given.
    """
    found = np.full((len(queries), k), -1, np.int64)
    # Alike rows stand together, so queries with candidates about one place share what the cache
    # holds: that halves the time.
    order = np.argsort(np.median(candidates, axis=1))
    kernels.keep_best(
        vectors, queries, order, candidates,
        masks.hidden, masks.starts, masks.allowed, masks.group, found,
    )  # fmt: skip
    return found

"""The best of some candidates by exact score: for engines that only guess how good a row is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from vlm4rec_spark.topk.engines.kernels import alike, is_hidden, keep_largest

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Masks, Rows, Vectors


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
    keep_best(
        vectors, queries, candidates, masks.hidden, masks.starts, masks.allowed, masks.group, found
    )
    return found


@njit(cache=True, nogil=True)
def keep_best(vectors, queries, candidates, hidden, starts, allowed, group, found):
    """Write the rows of the largest inner products that no mask hides; see `best_of`."""
    width, k = candidates.shape[1], found.shape[1]
    scores, rows = np.empty(width, np.float32), np.empty(width, np.int64)
    for query in range(found.shape[0]):
        may, count = allowed[group[query]], 0
        for place in range(width):
            row = candidates[query, place]
            if row < 0 or not may[row]:
                continue
            if is_hidden(hidden, starts[query], starts[query + 1], row):
                continue
            rows[count] = row
            count += 1
        for place in range(count):
            scores[place] = alike(vectors[rows[place]], queries[query])
        if count > k:
            keep_largest(scores, rows, count, k)
        for place in range(min(count, k)):
            found[query, place] = rows[place]

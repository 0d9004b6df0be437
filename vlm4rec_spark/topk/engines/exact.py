"""Every query with every row: a blocked matrix product. The oracle of the other engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vlm4rec_spark.topk.engines.selection import Best

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Masks, Rows, Vectors

QUERIES_A_TILE = 512
ROWS_A_TILE = 2048
"""512 x 2048 scores are 4 MB: written by BLAS and read once before they leave the cache."""


class ExactEngine:
    """Recall is 1 by construction."""

    def __init__(self, vectors: Vectors) -> None:
        """Keep (n, d) unit rows, memory-mapped or not."""
        self.vectors = vectors

    def nearest(self, queries: Vectors, k: int, masks: Masks) -> Rows:
        """See `Engine`."""
        return self.within(range(len(self.vectors)), queries, k, masks).rows(k)

    def within(self, part: range, queries: Vectors, k: int, masks: Masks) -> Best:
        """See `PartedEngine`."""
        best = Best(len(queries), min(k, max(1, len(self.vectors))), masks)
        tile = np.empty((QUERIES_A_TILE, ROWS_A_TILE), np.float32)
        for start in range(0, len(queries), QUERIES_A_TILE):
            block = queries[start : start + QUERIES_A_TILE]
            numbers = np.arange(start, start + len(block))
            for row in part[::ROWS_A_TILE]:
                rows = self.vectors[row : min(row + ROWS_A_TILE, part.stop)]
                whole = (len(block), len(rows)) == tile.shape
                scores = np.matmul(block, rows.T, out=tile if whole else None)
                best.add(scores, numbers, row)
        return best

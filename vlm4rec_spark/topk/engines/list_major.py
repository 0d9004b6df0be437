"""Leaves walked one by one, each with all queries that probe it: one matrix product per leaf.

An inverted file is usually searched query by query, which moves a leaf through the cache once per
query. A batch job has all its queries at hand, so it goes leaf by leaf. Scores are exact; only
leaves that are not probed can hide a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.engines.selection import Best

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Rows, Vectors
    from vlm4rec_spark.topk.engines.leaves import Leaves

QUERIES_A_TILE = 512
ROWS_A_TILE = 2048


class ListMajorEngine:
    """Probes the `width` nearest leaves of each query, twice as many where k rows are not found."""

    def __init__(self, vectors: Vectors, leaves: Leaves, width: int) -> None:
        """Keep the (n, d) unit rows, stored leaf by leaf."""
        self.vectors = vectors
        self.leaves = leaves
        self.width = min(width, len(leaves.centroids))

    def nearest(self, queries: Vectors, k: int, masks: Masks) -> Rows:
        """See `Engine`."""
        wanted, everything = np.minimum(masks.eligible(), k), range(len(self.vectors))
        rows = self.within(everything, queries, k, masks).rows(k)
        width = self.width
        while width < len(self.leaves.centroids):
            short = np.flatnonzero((rows >= 0).sum(1) < wanted)
            if not len(short):
                break
            width = min(2 * width, len(self.leaves.centroids))
            wider = self._probed(everything, queries[short], k, masks.of(short), width)
            rows[short] = wider.rows(k)
        return rows

    def within(self, part: range, queries: Vectors, k: int, masks: Masks) -> Best:
        """See `PartedEngine`: what of the `width` nearest leaves of all lies in the part."""
        return self._probed(part, queries, k, masks, self.width)

    def _probed(self, part: range, queries: Vectors, k: int, masks: Masks, width: int) -> Best:
        best = Best(len(queries), min(k, max(1, len(self.vectors))), masks)
        probes = self._nearest_leaves(queries, width)
        # The nearest leaf of every query first: later leaves meet high floors.
        for some in (probes[:, :1], probes[:, 1:]):
            self._walk(best, part, queries, some)
        return best

    def _nearest_leaves(self, queries: Vectors, width: int) -> npt.NDArray[np.int64]:
        """Return (queries, width) leaves, the nearest in column 0."""
        centroids = self.leaves.centroids
        best = Best(len(queries), width, Masks.nothing(len(queries), len(centroids)))
        nearest = np.empty(len(queries), np.int64)
        for start in range(0, len(queries), QUERIES_A_TILE):
            numbers = np.arange(start, min(start + QUERIES_A_TILE, len(queries)))
            tile = queries[numbers] @ centroids.T
            nearest[numbers] = tile.argmax(1)
            best.add(tile, numbers, 0)
        probes = best.rows(width)
        at = (probes == nearest[:, None]).argmax(1)
        lines = np.arange(len(queries))
        probes[lines, at], probes[:, 0] = probes[:, 0].copy(), nearest
        return probes

    def _walk(
        self, best: Best, part: range, queries: Vectors, probes: npt.NDArray[np.int64]
    ) -> None:
        """Score the rows of every leaf that lie in a part with all queries that probe it."""
        if not probes.shape[1]:
            return
        order = np.argsort(probes, axis=None, kind="stable")
        members = order // probes.shape[1]
        leaves = np.arange(len(self.leaves.centroids) + 1)
        bounds = np.searchsorted(probes.ravel()[order], leaves)
        offsets = np.clip(self.leaves.offsets, part.start, part.stop)
        for leaf in np.flatnonzero(np.diff(bounds) * np.diff(offsets)):
            who = members[bounds[leaf] : bounds[leaf + 1]]
            for start in range(0, len(who), QUERIES_A_TILE):
                numbers = who[start : start + QUERIES_A_TILE]
                block = queries[numbers]
                for row in range(offsets[leaf], offsets[leaf + 1], ROWS_A_TILE):
                    stop = min(row + ROWS_A_TILE, offsets[leaf + 1])
                    best.add(block @ self.vectors[row:stop].T, numbers, row)

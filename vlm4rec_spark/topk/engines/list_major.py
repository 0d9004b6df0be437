"""Leaves walked one by one, each with all queries that probe it: one matrix product per leaf.

An inverted file is usually searched query by query, which moves a leaf through the cache once per
query. A batch job has all its queries at hand, so it goes leaf by leaf. Scores are exact; only
leaves that are not probed can hide a row.

A query probes the leaves that are about as near as its nearest one, not a number of leaves that is
the same for all: where one leaf stands out the others hold nothing, and where many are alike any of
them may. For the same recall that is a third of the leaves (`make bench-topk N=1000000`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.engines.selection import Best

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Masks, Rows, Vectors
    from vlm4rec_spark.topk.engines.leaves import Leaves

QUERIES_A_TILE = 512
ROWS_A_TILE = 2048
REACH = 0.005
"""What 1 of width is, as a cosine."""
WIDEST = math.ceil(2 / REACH) + 1
"""The width that probes all leaves: cosines of centroids with a query differ by 2 at most."""

Numbers = npt.NDArray[np.int64]


class ListMajorEngine:
    """Probes leaves whose centroid is up to `width` x REACH less like the query than the nearest.

    Where k rows are not found it reaches twice as far.
    """

    def __init__(self, vectors: Vectors, leaves: Leaves, width: int) -> None:
        """Keep the (n, d) unit rows, stored leaf by leaf."""
        self.vectors = vectors
        self.leaves = leaves
        self.width = width

    def nearest(self, queries: Vectors, k: int, masks: Masks) -> Rows:
        """See `Engine`."""
        wanted, everything = np.minimum(masks.eligible(), k), range(len(self.vectors))
        rows = self.within(everything, queries, k, masks).rows(k)
        width = self.width
        while width < WIDEST:
            short = np.flatnonzero((rows >= 0).sum(1) < wanted)
            if not len(short):
                break
            width = min(2 * width, WIDEST)
            wider = self._probed(everything, queries[short], k, masks.of(short), width)
            rows[short] = wider.rows(k)
        return rows

    def within(self, part: range, queries: Vectors, k: int, masks: Masks) -> Best:
        """See `PartedEngine`: what of the probed leaves lies in the part."""
        return self._probed(part, queries, k, masks, self.width)

    def _probed(self, part: range, queries: Vectors, k: int, masks: Masks, width: int) -> Best:
        best = Best(len(queries), min(k, max(1, len(self.vectors))), masks)
        members, probes = self._near_leaves(queries, width)
        bounds = np.searchsorted(probes, np.arange(len(self.leaves.centroids) + 1))
        offsets = np.clip(self.leaves.offsets, part.start, part.stop)
        for leaf in np.flatnonzero(np.diff(bounds) * np.diff(offsets)):
            who = members[bounds[leaf] : bounds[leaf + 1]]
            for start in range(0, len(who), QUERIES_A_TILE):
                numbers = who[start : start + QUERIES_A_TILE]
                block = queries[numbers]
                for row in range(offsets[leaf], offsets[leaf + 1], ROWS_A_TILE):
                    stop = min(row + ROWS_A_TILE, offsets[leaf + 1])
                    best.add(block @ self.vectors[row:stop].T, numbers, row)
        return best

    def _near_leaves(self, queries: Vectors, width: int) -> tuple[Numbers, Numbers]:
        """Return (pairs,) numbers of queries and of the leaves they probe, ascending by leaf."""
        centroids, reach = self.leaves.centroids, np.float32(width * REACH)
        pairs = [np.zeros((2, 0), np.int64)]
        for start in range(0, len(queries), QUERIES_A_TILE):
            tile = queries[start : start + QUERIES_A_TILE] @ centroids.T
            query, leaf = np.nonzero(tile >= tile.max(1, keepdims=True) - reach)
            pairs.append(np.stack([query + start, leaf]))
        members, probes = np.concatenate(pairs, axis=1)
        order = np.argsort(probes, kind="stable")
        return members[order], probes[order]

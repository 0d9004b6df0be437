"""Which items changed between two matrices, and whose lists they can touch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.topk.ranking import NOISE

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Rows, Vectors
    from vlm4rec_spark.topk.snapshot import Snapshot

QUERIES_A_TILE = 1024


@dataclass(frozen=True)
class ItemChanges:
    """What differs between two matrices."""

    arrived: Rows
    """Rows of the new matrix that can enter lists: new, changed, or newly allowed."""
    departed: Rows
    """Rows of the old matrix that can leave lists: gone, changed, or no longer allowed."""
    renewed: Rows
    """Rows of the new matrix whose facts or vector are new or changed."""
    named: pa.Array
    """Ids of items that are new, changed or gone: a history that names one is another history."""
    gone: pa.Array
    """Ids of the items of the old matrix that the new one lacks."""

    @property
    def count(self) -> int:
        """Items that changed in any way."""
        return max(len(self.arrived), len(self.departed), len(self.named))


NO_ROWS = np.zeros(0, np.int64)
NO_IDS = pa.array([], pa.string())
NOTHING = ItemChanges(NO_ROWS, NO_ROWS, NO_ROWS, NO_IDS, NO_IDS)


def item_changes(before: Snapshot, now: Snapshot) -> ItemChanges:
    """Compare two matrices with the hashes of their rows, and what may be listed.

    An item is allowed when it may be listed for any group of users; both matrices have the same
    groups.
    """
    old = before.find(now.ids)
    is_known = old >= 0
    if before.hashes is None or now.hashes is None or not len(before):
        is_same = np.zeros(len(now), bool)
    else:
        is_same = is_known & (before.hashes[old] == now.hashes)
    shifted = np.zeros(len(now), bool)
    shifted[is_known] = (before.allowed[:, old[is_known]] != now.allowed[:, is_known]).any(0)
    moved = ~is_same | shifted
    is_gone = np.ones(len(before), bool)
    is_gone[old[is_known]] = False
    left = is_gone.copy()
    left[old[is_known & moved]] = True
    renewed, gone = np.flatnonzero(~is_same), before.ids.filter(pa.array(is_gone))
    return ItemChanges(
        arrived=np.flatnonzero(moved & now.allowed.any(0)),
        departed=np.flatnonzero(left & before.allowed.any(0)),
        renewed=renewed,
        named=pa.concat_arrays([now.ids.take(pa.array(renewed)), gone]),
        gone=gone,
    )


def reaching(
    queries: Vectors, items: Vectors, floors: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return the pairs (query, item), (2, pairs), whose product comes up to the query's floor.

    Args:
        queries: (m, d) unit rows.
        items: (n, d) unit rows.
        floors: (m,) score of the last place of each list; minus infinity: there is room left.
    """
    found = [np.zeros((2, 0), np.int64)]
    lowest = (floors - NOISE).astype(np.float32)
    for start in range(0, len(queries) if len(items) else 0, QUERIES_A_TILE):
        tile = queries[start : start + QUERIES_A_TILE] @ items.T
        query, item = np.nonzero(tile >= lowest[start : start + QUERIES_A_TILE, None])
        found.append(np.stack([query + start, item]))
    return np.concatenate(found, axis=1)


def padded(
    owners: npt.NDArray[np.int64], rows: Rows
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Put pairs (owner, row) into lines: the owners, ascending, and (owners, width) rows, -1: none.

    >>> padded(np.array([7, 4, 7]), np.array([1, 2, 3]))[1].tolist()
    [[2, -1], [1, 3]]
    """
    order = np.argsort(owners, kind="stable")
    lines, line = np.unique(owners[order], return_inverse=True)
    place = np.arange(len(order)) - np.searchsorted(line, line)
    listed = np.full((len(lines), int(place.max(initial=-1)) + 1), -1, np.int64)
    listed[line, place] = rows[order]
    return lines, listed

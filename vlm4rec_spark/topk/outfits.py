"""What completes an item: the same style and occasion, another slot, alike in everything else.

Captions name the garment, so that a plain cosine would rank by what two slots have in common.
Therefore each vector is taken less the mean vector of its slot: what is left is what a text says
beside "these are shoes". It is the arithmetic of analogies, dress - mean dress + mean shoes, with
the angle measured around the mean shoes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.centring import without_mean
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.lists import check_places, hides_itself
from vlm4rec_spark.topk.ranking import ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm4rec_spark.topk.engines.interface import Rows, Vectors
    from vlm4rec_spark.topk.snapshot import Snapshot
    from vlm4rec_spark.topk.wardrobe import Numbers, Wardrobe

MOST_CANDIDATES = 5_000
"""Of a larger cell only the most popular items are candidates: cost stays linear in items."""
TARGETS_A_BLOCK = 2048


@dataclass(frozen=True)
class Completion:
    """Which items complete which, target by target and best first; a line each."""

    targets: Rows
    rows: Rows
    slots: Numbers
    scores: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Candidates:
    """Items of one cell less the mean of their slot, sorted by item id; see `ranking.Pool`."""

    rows: Rows
    vectors: Vectors
    slot: int

    @property
    def rank(self) -> Numbers:
        """They are sorted already."""
        return np.arange(len(self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def of(snapshot: Snapshot, wardrobe: Wardrobe, order: Rows, cell: int) -> Candidates:
        """Take the items of a cell that may be listed."""
        start, slot = wardrobe.starts[cell], wardrobe.cells[cell][1]
        rows = order[start : start + min(wardrobe.n_open[cell], MOST_CANDIDATES)]
        rows = rows[np.argsort(snapshot.rank[rows])]
        return Candidates(rows, without_mean(snapshot.vectors[rows], wardrobe.means[slot]), slot)


def completed(
    snapshot: Snapshot, wardrobe: Wardrobe, order: Rows, part: tuple[int, int], k: int
) -> Iterator[Completion]:
    """Complete some items, with k others each at most.

    Slots take turns: first the best item of each partner slot, by score, then the second best.

    Args:
        snapshot: the catalogue.
        wardrobe: its cells.
        order: its items cell by cell.
        part: first place in `order`, and the place behind the last.
        k: length of a list.
    """
    first, last = part
    cell = int(np.searchsorted(wardrobe.starts, first, side="right")) - 1
    while first < last:
        stop = int(min(last, wardrobe.starts[cell + 1]))
        partners = wardrobe.partner_cells(cell)
        pools = [Candidates.of(snapshot, wardrobe, order, partner) for partner in partners]
        mean = wardrobe.means[wardrobe.cells[cell][1]]
        for start in range(first, stop, TARGETS_A_BLOCK) if pools and k else ():
            targets = order[start : min(start + TARGETS_A_BLOCK, stop)]
            queries = without_mean(snapshot.vectors[targets], mean)
            yield in_turns(snapshot, targets, queries, pools, k)
        first, cell = stop, cell + 1


def in_turns(
    snapshot: Snapshot, targets: Rows, queries: Vectors, pools: list[Candidates], k: int
) -> Completion:
    """Return the nearest items of every pool, turn by turn.

    Args:
        snapshot: the catalogue.
        targets: (m,) rows.
        queries: (m, d) their vectors, less the mean of their slot.
        pools: candidates of each slot.
        k: length of a list.
    """
    parts = []
    for pool in pools:
        nothing = Masks.nothing(len(queries), len(pool))
        found = ranked(pool, ExactEngine(pool.vectors), queries, k, nothing)
        rows = np.where(found.rows >= 0, pool.rows[found.rows], -1)
        slot = np.full(rows.shape, pool.slot)
        turn = np.broadcast_to(np.arange(rows.shape[1]), rows.shape)
        parts.append((rows, found.scores, slot, turn))
    rows, scores, slots, turns = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    best = np.lexsort((snapshot.rank[rows], -scores, turns, rows < 0), axis=1)[:, :k]
    rows, scores, slots = (np.take_along_axis(a, best, 1) for a in (rows, scores, slots))
    check_places(rows, hides_itself(snapshot, targets))
    line, place = np.nonzero(rows >= 0)
    at = (line, place)
    ranks = (place + 1).astype(np.int32)
    return Completion(targets[line], rows[at], slots[at], scores[at], ranks)

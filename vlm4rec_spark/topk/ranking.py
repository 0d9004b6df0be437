"""From what an engine finds to a ranked list: exact scores, ties by item id, enough candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.engines import kernels

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Engine, Masks, Rows, Vectors

DIGITS = 6
"""Scores are rounded: what differs by less is a tie, broken by item id."""
MARGIN = 24
"""Candidates beyond k: float32 scores decide who is a candidate, float64 scores the order."""
NOISE = 4e-6
"""More than a float32 product and a float64 product of unit vectors differ."""
DEEPER = 4


class Pool(Protocol):
    """What is searched: a snapshot, or a part of one."""

    @property
    def vectors(self) -> Vectors:
        """(n, d) unit rows."""

    @property
    def rank(self) -> npt.NDArray[np.int64]:
        """(n,) place of each row when sorted by item id."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Ranked:
    """(queries, width) rows, best first, -1 for an empty place, and their scores."""

    rows: Rows
    scores: npt.NDArray[np.float64]
    interest: npt.NDArray[np.int64] | None = None
    """Interest of the user that each row is scored by; None: there is one."""
    floor: npt.NDArray[np.float64] | None = None
    """(queries,) an item with a smaller product with all that was searched with cannot have been a
    candidate; minus infinity: any item can. None: not known."""


def ranked(pool: Pool, engine: Engine, queries: Vectors, k: int, masks: Masks) -> Ranked:
    """Return the k best rows of each query by exact score.

    Where the k-th score is as good as that of the last candidate, more rows may tie with it; such
    a query is searched deeper, so that the list does not depend on the last bits of a score.
    """
    asked, k = k, min(k, max(1, len(pool)))
    depth = min(k + MARGIN, max(1, len(pool)))
    ordered = scored(pool, queries, engine.nearest(queries, depth, masks))
    rows, scores = ordered.rows[:, :k].copy(), ordered.scores[:, :k].copy()
    open_ = np.flatnonzero(_undecided(ordered, k))
    while depth < len(pool) and len(open_):
        depth = min(DEEPER * depth, len(pool))
        found = engine.nearest(queries[open_], depth, masks.of(open_))
        ordered = scored(pool, queries[open_], found)
        rows[open_], scores[open_] = ordered.rows[:, :k], ordered.scores[:, :k]
        open_ = open_[_undecided(ordered, k)]
    # An empty place scores minus infinity.
    floor = scores[:, -1].copy() if k == asked else np.full(len(scores), -np.inf)
    return Ranked(rows, scores, floor=floor)


def scored(pool: Pool, queries: Vectors, found: Rows) -> Ranked:
    """Score rows exactly and order them; empty places last, at minus infinity."""
    exact = np.empty(found.shape)
    kernels.dots(pool.vectors, queries, found, exact)
    scores = np.round(exact, DIGITS)
    scores[found < 0] = -np.inf
    return in_order(pool, Ranked(found, scores))


def in_order(pool: Pool, listed: Ranked) -> Ranked:
    """Sort each line by falling score, ties by item id."""
    rank = pool.rank[listed.rows] if len(pool) else listed.rows
    order = np.lexsort((rank, -listed.scores), axis=1)
    return Ranked(
        np.take_along_axis(listed.rows, order, 1), np.take_along_axis(listed.scores, order, 1)
    )


def _undecided(ordered: Ranked, k: int) -> npt.NDArray[np.bool_]:
    last, kth = ordered.scores[:, -1], ordered.scores[:, k - 1]
    undecided: npt.NDArray[np.bool_] = np.isfinite(last) & (kth < last + NOISE)
    return undecided

"""What a merchandiser asks of a list: variants, caps, diversity, pins, promotions, business value.

All are one greedy pass over more candidates than the list has places (`kernels.arrange`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.topk import kernels

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Masks, Rows
    from vlm4rec_spark.topk.ranking import Ranked
    from vlm4rec_spark.topk.snapshot import Snapshot

DEEPER = 3
"""Candidates for each place of a list."""
NEVER_EQUAL = 2.0
VARIANTS = "variant_group"


@dataclass(frozen=True)
class Rerank:
    """The settings, small and frozen: they travel to the workers."""

    caps: tuple[tuple[str, int], ...] = ()
    """Column of the items, and how many of one value a list may hold."""
    near_equal: float | None = None
    """Cosine from which two items count as one."""
    relevance: float = 1.0
    """Lambda of maximal marginal relevance; 1: order by value alone."""
    pins: tuple[tuple[str, int], ...] = ()
    """Item id, and the rank it must have."""
    shares: tuple[float, ...] = ()
    """Part of the places that is kept for each promotion."""
    business_weight: float = 0.0
    """Value = (1 - weight) x cosine + weight x business."""

    @property
    def is_needed(self) -> bool:
        """Whether a list can differ from the best k items."""
        return self != PLAIN

    @property
    def may_shorten(self) -> bool:
        """Whether a list can be short although more items are eligible."""
        return bool(self.caps) or self.near_equal is not None

    def arranged(self, snapshot: Snapshot, found: Ranked, k: int, masks: Masks) -> Rows:
        """Return (users, k) rows chosen from candidates, -1 for an empty place.

        Args:
            snapshot: the catalogue.
            found: candidates of each user, best first.
            k: length of a list.
            masks: what each user may not be given; a pinned item is left out for them, too.
        """
        codes = np.array([snapshot.codes(column) for column, _ in self.caps], np.int64)
        codes = codes.reshape(len(self.caps), len(snapshot))
        limits = np.array([limit for _, limit in self.caps], np.int64)
        # Cosines stay as they are; popularity is scaled to the same range, user by user: who else
        # is in the block must not matter.
        filled = np.where(found.rows >= 0, found.scores, 0.0)
        largest = filled.max(axis=1, initial=1.0, keepdims=True)
        # The order of candidates stands: each is worth as much as the best behind it, as interests
        # take turns whatever their scores.
        scores = np.maximum.accumulate(found.scores[:, ::-1], axis=1)[:, ::-1]
        values = (1 - self.business_weight) * scores / largest
        values += self.business_weight * snapshot.business[found.rows]
        listed = np.full((len(found.rows), k), -1, np.int64)
        kernels.arrange(
            snapshot.vectors, found.rows, np.where(found.rows >= 0, values, -np.inf),
            codes, limits, np.zeros((len(limits), codes.max(initial=0) + 1), np.int64),
            snapshot.promoted, self.slots(k), self._pins(snapshot, k, masks),
            NEVER_EQUAL if self.near_equal is None else self.near_equal, self.relevance, listed,
        )  # fmt: skip
        return together(listed)

    def slots(self, k: int) -> npt.NDArray[np.int64]:
        """Return which promotion each place is kept for, -1: none; spread evenly over the list.

        >>> Rerank(shares=(0.25,)).slots(8).tolist()
        [-1, -1, -1, 0, -1, -1, -1, 0]
        """
        slots = np.full(k, -1, np.int64)
        for number, share in enumerate(self.shares):
            count = math.floor(share * k + 1e-9)
            for place in range(count):
                wanted = math.ceil((place + 1) * k / count) - 1
                free = np.flatnonzero(slots < 0)
                if len(free):
                    slots[free[np.abs(free - wanted).argmin()]] = number
        return slots

    def _pins(self, snapshot: Snapshot, k: int, masks: Masks) -> Rows:
        pins = np.full((len(masks.group), k), -1, np.int64)
        rows = snapshot.find(pa.array([item for item, _ in self.pins], pa.string()))
        for row, (_, rank) in zip(rows.tolist(), self.pins, strict=True):
            if row >= 0 and rank <= k:
                may = masks.allowed[masks.group, row].copy()
                hides = np.flatnonzero(masks.hidden == row)
                may[np.searchsorted(masks.starts, hides, side="right") - 1] = False
                pins[may, rank - 1] = row
        return pins


PLAIN = Rerank()
"""Lists are the best k items."""


def together(listed: Rows) -> Rows:
    """Move empty places behind the filled ones, whose order stays."""
    order = np.argsort(listed < 0, axis=1, kind="stable")
    moved: Rows = np.take_along_axis(listed, order, 1)
    return moved

"""Late fusion: an item is compared with each liked item by itself, not with their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.candidates import cosines, interests_of, lowest, nearest
from vlm4rec_spark.topk.ranking import DIGITS, Ranked, in_order, ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm4rec_spark.profiles.vectors import Fusion, Profiles
    from vlm4rec_spark.topk.engines.interface import Engine, Masks, Rows
    from vlm4rec_spark.topk.snapshot import Snapshot

SEARCHES_AT_ONCE = 16_384
DEEPER = 3
"""Of the items that come near any liked item, so many for each place are scored by softmax."""


@dataclass(frozen=True)
class FusedCandidates:
    """Items near any liked item; see `Fusion` for the scores.

    The k nearest items of every liked item are found; by maximum the best k of all are among them,
    as exactly as the engine finds them. By softmax the best of those with the largest maxima.
    Where a user's dislikes turn liked items away, all of this holds for the vectors they become
    (see `dislikes`): scores are products with these.
    """

    snapshot: Snapshot
    engine: Engine
    profiles: Profiles
    """A vector for each liked item."""
    fusion: Fusion

    def best(self, users: npt.NDArray[np.int64], k: int, masks: Masks) -> Ranked:
        """See `Candidates`."""
        width = min(k, max(1, len(self.snapshot)))
        rows = np.full((len(users), width), -1, np.int64)
        scores, floor = np.full(rows.shape, -np.inf), np.full(len(users), -np.inf)
        for part in self._parts(users):
            near = self._near(users[part], DEEPER * k if self._is_soft else k, masks.of(part))
            floor[part] = -np.inf if near.floor is None else near.floor
            if self._is_soft:
                near = in_order(self.snapshot, self._fused(near.rows, users[part]))
            some = min(width, near.rows.shape[1])
            rows[part, :some], scores[part, :some] = near.rows[:, :some], near.scores[:, :some]
        mine, offsets, _ = interests_of(self.profiles, users)
        number = nearest(self.snapshot, rows, self.profiles.vectors[mine], offsets).interest
        return Ranked(rows, scores, number, floor)

    def scored(self, rows: Rows) -> Ranked:
        """See `Candidates`."""
        found = nearest(self.snapshot, rows, self.profiles.vectors, self.profiles.starts)
        if not self._is_soft:
            return found
        fused = self._fused(rows, np.arange(len(rows)))
        return Ranked(rows, fused.scores, found.interest)

    @property
    def _is_soft(self) -> bool:
        return self.fusion.kind == "softmax"

    def _parts(self, users: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Yield places in `users` whose searches fit into memory together."""
        counts = np.cumsum(np.diff(self.profiles.starts)[users])
        for number in range(int(counts[-1] // SEARCHES_AT_ONCE) + 1 if len(users) else 0):
            part = np.flatnonzero(counts // SEARCHES_AT_ONCE == number)
            if len(part):
                yield part

    def _near(self, users: npt.NDArray[np.int64], width: int, masks: Masks) -> Ranked:
        """Return the items with the largest cosine to any liked item."""
        mine, offsets, line = interests_of(self.profiles, users)
        found = ranked(
            self.snapshot, self.engine, self.profiles.vectors[mine], width, masks.of(line)
        )
        place, nth = np.nonzero(found.rows >= 0)
        keys = line[place] * len(self.snapshot) + found.rows[place, nth]
        key, first = np.unique(keys, return_inverse=True)
        score = np.full(len(key), -np.inf)
        np.maximum.at(score, first, found.scores[place, nth])
        owner, row = np.divmod(key, max(1, len(self.snapshot)))
        order = np.lexsort((self.snapshot.rank[row], -score, owner))
        starts = np.searchsorted(owner, np.arange(len(users) + 1))
        nth = np.arange(len(key)) - starts[owner]
        kept = nth < width
        rows = np.full((len(users), width), -1, np.int64)
        scores = np.full(rows.shape, -np.inf)
        at = (owner[kept], nth[kept])
        rows[at], scores[at] = row[order][kept], score[order][kept]
        return Ranked(rows, scores, floor=lowest(found.floor, offsets))

    def _fused(self, rows: Rows, users: npt.NDArray[np.int64]) -> Ranked:
        """Return the softmax scores of rows."""
        mine, offsets, _ = interests_of(self.profiles, users)
        weights = self.profiles.weights[mine]
        total, mass = np.zeros(rows.shape), np.zeros(rows.shape)
        queries = self.profiles.vectors[mine]
        # Less the largest cosine: exponentials of a large sharpness stay finite, and not all 0.
        largest = nearest(self.snapshot, rows, queries, offsets).scores
        for nth, has, scores in cosines(self.snapshot, rows, queries, offsets):
            is_filled = rows[has] >= 0
            cosine = np.where(is_filled, scores, 0.0)
            below = np.where(is_filled, largest[has], 0.0) - cosine
            attention = np.exp(-self.fusion.sharpness * below)
            attention *= (weights[offsets[has] + nth] / weights[offsets[has]])[:, None]
            total[has] += attention * cosine
            mass[has] += attention
        fused = np.where(rows >= 0, (total / np.maximum(mass, 1e-300)).round(DIGITS), -np.inf)
        return Ranked(rows, fused)

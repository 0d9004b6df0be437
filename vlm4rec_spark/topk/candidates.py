"""Where the candidates of lists come from: nearness to a profile, or popularity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.engines import kernels
from vlm4rec_spark.topk.kernels import take_turns
from vlm4rec_spark.topk.ranking import DIGITS, Ranked, ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm4rec_spark.profiles.vectors import Profiles
    from vlm4rec_spark.topk.engines.interface import Engine, Masks, Rows, Vectors
    from vlm4rec_spark.topk.snapshot import Snapshot


class Candidates(Protocol):
    """Scores items for users who are numbered from 0."""

    def best(self, users: npt.NDArray[np.int64], k: int, masks: Masks) -> Ranked:
        """Return the k best rows of some users, whose masks these are."""

    def scored(self, rows: Rows) -> Ranked:
        """Return rows of all users with their scores, in the order given."""


@dataclass(frozen=True)
class ProfileCandidates:
    """Items near a profile; scores are cosines."""

    snapshot: Snapshot
    engine: Engine
    queries: Vectors
    """(users, d) unit rows."""

    def best(self, users: npt.NDArray[np.int64], k: int, masks: Masks) -> Ranked:
        """See `Candidates`."""
        return ranked(self.snapshot, self.engine, self.queries[users], k, masks)

    def scored(self, rows: Rows) -> Ranked:
        """See `Candidates`."""
        scores = np.empty(rows.shape)
        kernels.dots(self.snapshot.vectors, self.queries, rows, scores)
        return Ranked(rows, np.where(rows >= 0, np.round(scores, DIGITS), -np.inf))


@dataclass(frozen=True)
class InterestCandidates:
    """Items near one of a user's interests; scores are cosines with the nearest interest.

    Each interest brings its best items; they take turns by highest averages (Sainte-Lague), so
    that every beginning of a list holds each interest in proportion to its weight.
    """

    snapshot: Snapshot
    engine: Engine
    profiles: Profiles

    def best(self, users: npt.NDArray[np.int64], k: int, masks: Masks) -> Ranked:
        """See `Candidates`; in the order of the turns, not of the scores."""
        mine, offsets, line = interests_of(self.profiles, users)
        found = ranked(self.snapshot, self.engine, self.profiles.vectors[mine], k, masks.of(line))
        rows = np.full((len(users), found.rows.shape[1]), -1, np.int64)
        take_turns(found.rows, offsets, self.profiles.weights[mine], rows)
        listed = nearest(self.snapshot, rows, self.profiles.vectors[mine], offsets)
        return replace(listed, floor=lowest(found.floor, offsets))

    def scored(self, rows: Rows) -> Ranked:
        """See `Candidates`."""
        return nearest(self.snapshot, rows, self.profiles.vectors, self.profiles.starts)


def interests_of(
    profiles: Profiles, users: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the vectors of some users, where each user's start, and the user of each."""
    counts = np.diff(profiles.starts)[users]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    line = np.repeat(np.arange(len(users)), counts)
    mine = np.repeat(profiles.starts[users], counts) + np.arange(offsets[-1]) - offsets[line]
    return mine, offsets, line


def lowest(
    floor: npt.NDArray[np.float64] | None, offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    """Return the lowest floor of each user, who has `offsets[u]:offsets[u + 1]`, not empty."""
    if floor is None or len(offsets) < 2:  # noqa: PLR2004 - nobody
        return None
    least: npt.NDArray[np.float64] = np.minimum.reduceat(floor, offsets[:-1])
    return least


def cosines(
    snapshot: Snapshot, rows: Rows, queries: Vectors, starts: npt.NDArray[np.int64]
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Yield the number of an interest, the users who have so many, and the scores of their rows.

    Args:
        snapshot: the catalogue.
        rows: (users, width), -1 for an empty place, which scores minus infinity.
        queries: interests of the users one behind the other.
        starts: user u has the interests `starts[u]:starts[u + 1]`.
    """
    for interest in range(int(np.diff(starts).max(initial=0))):
        has = np.flatnonzero(np.diff(starts) > interest)
        scores = np.empty((len(has), rows.shape[1]))
        kernels.dots(snapshot.vectors, queries[starts[has] + interest], rows[has], scores)
        yield interest, has, np.where(rows[has] >= 0, np.round(scores, DIGITS), -np.inf)


def nearest(
    snapshot: Snapshot, rows: Rows, queries: Vectors, starts: npt.NDArray[np.int64]
) -> Ranked:
    """Score rows by the nearest interest of their user; see `cosines`."""
    number, best = np.zeros(rows.shape, np.int64), np.full(rows.shape, -np.inf)
    for interest, has, scores in cosines(snapshot, rows, queries, starts):
        number[has] = np.where(scores > best[has], interest, number[has])
        best[has] = np.maximum(scores, best[has])
    return Ranked(rows, best, number)


@dataclass(frozen=True)
class PopularCandidates:
    """Popular items, first in the user's segment, then with everybody; scores are popularity."""

    snapshot: Snapshot
    line: npt.NDArray[np.int64]
    """Line of `Snapshot.popularity` for each user; 0 is for everybody."""

    def best(self, users: npt.NDArray[np.int64], k: int, masks: Masks) -> Ranked:
        """See `Candidates`."""
        snapshot = self.snapshot
        everybody = snapshot.popularity[0]
        orders = {
            line: np.lexsort((snapshot.rank, -everybody, -snapshot.popularity[line]))
            for line in np.unique(self.line[users]).tolist()
        }
        rows = np.full((len(users), min(k, max(1, len(snapshot)))), -1, np.int64)
        for number, user in enumerate(users):
            order = orders[int(self.line[user])]
            may = masks.allowed[masks.group[number]].copy()
            may[masks.hidden[masks.starts[number] : masks.starts[number + 1]]] = False
            best = order[may[order]][: rows.shape[1]]
            rows[number, : len(best)] = best
        return self._with_scores(rows, self.line[users])

    def scored(self, rows: Rows) -> Ranked:
        """See `Candidates`."""
        return self._with_scores(rows, self.line)

    def _with_scores(self, rows: Rows, line: npt.NDArray[np.int64]) -> Ranked:
        scores = np.full(rows.shape, -np.inf)
        user, place = np.nonzero(rows >= 0)
        scores[user, place] = self.snapshot.popularity[line[user], rows[user, place]]
        return Ranked(rows, scores)

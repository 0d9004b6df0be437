"""Lists for a block of users: profile, search, mask, score exactly, explain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.profiles.vectors import Histories, profile
from vlm4rec_spark.topk.engines import ExactSearcher, Searcher, load_searcher
from vlm4rec_spark.topk.reasons import popular_reason, profile_reason, shared_words

if TYPE_CHECKING:
    from vlm4rec_spark.topk.snapshot import Snapshot

DIGITS = 6
"""Scores are rounded: what differs by less is a tie, broken by item id."""


@dataclass(frozen=True)
class Entry:
    """One place of one list; `rank` from 1."""

    user_id: str
    rank: int
    item_id: str
    score: float
    because_item_id: str | None
    shared_attributes: list[str]
    reason: str
    arm: str


def searcher_of(snapshot: Snapshot, engine: str) -> Searcher:
    """Return the engine over the available items."""
    loaded = load_searcher(engine, snapshot.index, len(snapshot.available))
    return loaded or ExactSearcher(snapshot.listable)


def candidates(
    snapshot: Snapshot, positions: npt.NDArray[np.int64], excluded: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.int64]:
    """Return what an engine found less what may not be listed; all items where it is too little.

    Args:
        snapshot: the catalogue.
        positions: what the engine returned, positions among the available items.
        excluded: rows that may not be listed, none twice.
        k: items wanted.

    Returns:
        Ascending rows, at least min(k, eligible) of them.
    """
    rows = np.setdiff1d(snapshot.available[positions], excluded, assume_unique=True)
    if len(rows) >= k:
        return np.sort(rows)
    return np.sort(np.setdiff1d(snapshot.available, excluded, assume_unique=True))


def best_rows(
    snapshot: Snapshot, query: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Score candidate rows exactly and return the best k with their scores, ties by id."""
    exact = snapshot.vectors[rows].astype(np.float64) @ query.astype(np.float64)
    scores = np.round(exact, DIGITS)
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def lists_for(snapshot: Snapshot, histories: Histories, k: int, engine: str) -> Iterator[Entry]:
    """Yield the list of every user: min(k, eligible) items, none seen, unavailable or repeated."""
    known, queries = [], []
    for user in range(len(histories.users)):
        part = histories.of(user)
        vector = profile(snapshot.vectors[histories.rows[part]], histories.weights[part])
        if vector is None:
            yield from _popular(snapshot, histories, user, k)
        else:
            known.append(user)
            queries.append(vector)
    if not known:
        return
    searcher = searcher_of(snapshot, engine)
    for margin, members in _by_seen(histories, known).items():
        found = searcher.nearest(np.stack([queries[m] for m in members]), k + margin)
        for member, positions in zip(members, found, strict=True):
            user = known[member]
            part = histories.of(user)
            seen = histories.rows[part][histories.seen[part]]
            rows = candidates(snapshot, positions, seen, k)
            best, scores = best_rows(snapshot, queries[member], rows, k)
            yield from _explained(snapshot, histories, user, best, scores)


def _by_seen(histories: Histories, users: list[int]) -> dict[int, list[int]]:
    """Group positions in `users` by the power of two that covers what each has seen.

    Searching deeper costs in proportion: one heavy user must not make a whole block deep.
    """
    groups: dict[int, list[int]] = {}
    for position, user in enumerate(users):
        n_seen = int(histories.seen[histories.of(user)].sum())
        margin = 1 << (n_seen - 1).bit_length() if n_seen else 0
        groups.setdefault(margin, []).append(position)
    return dict(sorted(groups.items()))


def _explained(
    snapshot: Snapshot,
    histories: Histories,
    user: int,
    best: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
) -> Iterator[Entry]:
    part = histories.of(user)
    counted = histories.weights[part] > 0
    rows, weights = histories.rows[part][counted], histories.weights[part][counted]
    liked = snapshot.vectors[rows].astype(np.float64)
    alike = liked @ snapshot.vectors[best].astype(np.float64).T
    strongest = np.round((weights / weights.max())[:, None] * alike, DIGITS).argmax(0)
    for rank, (row, score) in enumerate(zip(best, scores, strict=True), start=1):
        because = int(rows[strongest[rank - 1]])
        shared = shared_words(snapshot.words[because], snapshot.words[row])
        yield Entry(
            user_id=histories.users[user],
            rank=rank,
            item_id=str(snapshot.ids[row]),
            score=float(score),
            because_item_id=str(snapshot.ids[because]),
            shared_attributes=shared,
            reason=profile_reason(snapshot.titles[because], shared),
            arm="profile",
        )


def _popular(snapshot: Snapshot, histories: Histories, user: int, k: int) -> Iterator[Entry]:
    part = histories.of(user)
    rows = np.setdiff1d(snapshot.available, histories.rows[part][histories.seen[part]])
    order = np.lexsort((rows, -snapshot.popularity[rows]))[:k]
    for rank, row in enumerate(rows[order], start=1):
        yield Entry(
            user_id=histories.users[user],
            rank=rank,
            item_id=str(snapshot.ids[row]),
            score=float(snapshot.popularity[row]),
            because_item_id=None,
            shared_attributes=[],
            reason=popular_reason(),
            arm="popular",
        )

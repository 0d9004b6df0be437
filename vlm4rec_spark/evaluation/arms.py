"""The arms: small frozen descriptions that rank one block of users on a worker.

Each gets the same users, candidates and masks from `Block`; an arm only says what it likes. An arm
never lists an item it knows nothing about: no vector, or a score of 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.profiles.vectors import MEAN, Fusion, Histories, Profiles, query_profiles
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.lists import near_profiles
from vlm4rec_spark.topk.ranking import DIGITS
from vlm4rec_spark.topk.snapshot import Snapshot

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Floats, Ints
    from vlm4rec_spark.evaluation.catalogue import Catalogue, Vectors

NOTHING = np.empty(0, np.int64)
FUSED_DEPTH = 100
"""Places of each list that rank fusion reads."""
RANK_OFFSET = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke, Buettcher 2009)."""

ROUNDING = 10.0**-DIGITS
"""Scores this near to each other can round to the same."""
LIFT = 2.0
"""Added to cosines, so that every item with a vector scores above 0."""


@dataclass(frozen=True)
class Block:
    """A block of users, and what may be listed for them; the same for every arm."""

    catalogue: Catalogue
    histories: Histories
    pool: Ints
    """Rows that are candidates, ascending."""
    excluded: list[Ints]
    """Of each user: rows that may not be listed, ascending, none twice."""

    def history(self, user: int) -> tuple[Ints, Floats]:
        """Return the rows that count for a user, and their weights."""
        part = self.histories.of(user)
        counts = self.histories.weights[part] > 0
        return self.histories.rows[part][counts], self.histories.weights[part][counts]


class Arm(Protocol):
    """What all arms do."""

    @property
    def name(self) -> str:
        """Name in tables and reports."""

    @property
    def spaces(self) -> tuple[str, ...]:
        """Spaces the arm ranks with; diversity is not measured in them."""

    def rank(self, block: Block, k: int) -> Iterator[Ints]:
        """Yield the rows of each user's list in order, at most k, ties by item id."""


@dataclass(frozen=True)
class VectorArm:
    """The product itself: its profile, its exact search, its order, over one space."""

    name: str
    space: str
    made_of: tuple[str, ...] = ()
    """Other spaces that the vectors were made from."""
    interests: int = 1
    """Interests of a user at most."""
    fusion: Fusion = MEAN
    """How the items of a history come together."""

    @property
    def spaces(self) -> tuple[str, ...]:
        """See `Arm`."""
        return (self.space, *self.made_of)

    def rank(self, block: Block, k: int) -> Iterator[Ints]:
        """See `Arm`."""
        snapshot = _snapshot(block.catalogue, self.space, block.pool.tobytes())
        profiles = _profiles(snapshot.vectors, block, self.interests, self.fusion)
        known = profiles.known
        lists: list[Ints] = [np.empty(0, np.int64)] * len(block.excluded)
        if len(known):
            masks = _masks([block.excluded[user] for user in known], snapshot)
            engine = ExactEngine(snapshot.vectors)
            near = near_profiles(snapshot, engine, profiles, self.fusion)
            best = near.best(np.arange(len(known)), k, masks)
            for user, rows in zip(known, best.rows, strict=True):
                lists[user] = rows[rows >= 0]
        yield from lists


@dataclass(frozen=True)
class PopularArm:
    """The same list for everybody, less what they have seen."""

    name: str
    recent: bool = False
    spaces: tuple[str, ...] = ()

    def rank(self, block: Block, k: int) -> Iterator[Ints]:
        """See `Arm`."""
        known = block.catalogue
        counts = known.recent_users if self.recent else known.users
        deepest = k + max(map(len, block.excluded), default=0)
        order = best_scores(counts.astype(np.float64), block.pool, NOTHING, deepest)
        for excluded in block.excluded:
            head = order[: k + len(excluded)]
            yield head[~np.isin(head, excluded)][:k]


@dataclass(frozen=True)
class NeighbourArm:
    """Item-kNN: an item scores the sum of its similarities to the user's items.

    `model-item_knn.npy` is (2, n, most): neighbours' rows and their cosines, nearest first.
    """

    name: str
    neighbours: int
    spaces: tuple[str, ...] = ()

    def rank(self, block: Block, k: int) -> Iterator[Ints]:
        """See `Arm`."""
        near, cosine = np.asarray(block.catalogue.model("item_knn"))[:, :, : self.neighbours]
        for user, excluded in enumerate(block.excluded):
            had, _ = block.history(user)
            # Only neighbours score above 0: the catalogue's size does not count.
            rows, place = np.unique(near[had].astype(np.int64), return_inverse=True)
            allowed = _within(rows, block.pool) & ~_within(rows, excluded)
            scores: Floats = np.where(allowed, np.bincount(place.ravel(), cosine[had].ravel()), 0.0)
            yield _best(rows, scores, k)


@dataclass(frozen=True)
class LinearArm:
    """EASE: a user's items times a matrix of item weights (Steck 2019)."""

    name: str
    model: str
    spaces: tuple[str, ...] = ()

    def rank(self, block: Block, k: int) -> Iterator[Ints]:
        """See `Arm`."""
        weights = np.asarray(block.catalogue.model(self.model))
        for user, excluded in enumerate(block.excluded):
            scores = weights[block.history(user)[0]].sum(0, dtype=np.float64)
            yield best_scores(scores, block.pool, excluded, k)


@dataclass(frozen=True)
class WeightedArm:
    """A weighted sum of the cosines in two spaces; an item without a vector counts 0 there."""

    name: str
    spaces: tuple[str, ...]
    first_weight: float

    def rank(self, block: Block, k: int) -> Iterator[Ints]:
        """See `Arm`."""
        shares = (self.first_weight, 1.0 - self.first_weight)
        spaces = [(block.catalogue.space(s), _filled(block.catalogue, s)) for s in self.spaces]
        is_known = np.any([np.isfinite(vectors[:, 0]) for vectors, _ in spaces], axis=0)
        liked = [_profiles(vectors, block) for vectors, _ in spaces]
        for user, excluded in enumerate(block.excluded):
            scores = np.where(is_known, LIFT, 0.0)
            for (_, filled), profiles, share in zip(spaces, liked, shares, strict=True):
                for query in profiles.vectors[profiles.owner == user]:
                    scores += share * (filled @ query)
            yield best_scores(scores, block.pool, excluded, k)


@dataclass(frozen=True)
class RankFusionArm:
    """Reciprocal rank fusion of the lists of two spaces."""

    name: str
    spaces: tuple[str, ...]

    def rank(self, block: Block, k: int) -> Iterator[Ints]:
        """See `Arm`."""
        depth = max(k, FUSED_DEPTH)
        both = [VectorArm(s, s).rank(block, depth) for s in self.spaces]
        for excluded, *lists in zip(block.excluded, *both, strict=True):
            scores = np.zeros(len(block.catalogue.ids))
            for rows in lists:
                scores[rows] += 1.0 / (RANK_OFFSET + np.arange(1, len(rows) + 1))
            yield best_scores(scores, block.pool, excluded, k)


def best_scores(scores: Floats, pool: Ints, excluded: Ints, k: int) -> Ints:
    """Return the rows of a pool with the k best scores above 0, ties by row.

    >>> best_scores(np.array([0.5, 0.9, 0.9, 0.0]), np.arange(4), np.array([1]), 3).tolist()
    [2, 0]
    """
    known = scores[pool]
    known[np.searchsorted(pool, excluded[_within(excluded, pool)])] = 0.0
    return _best(pool, known, k)


def _best(rows: Ints, scores: Floats, k: int) -> Ints:
    """Return the rows with the k best scores above 0; rows are ascending, none twice."""
    if len(rows) > k:
        # Scores that differ by rounding alone are ties, so rounding comes before the choice.
        least = np.partition(scores, len(scores) - k)[len(scores) - k] - ROUNDING
        near = scores >= least
        rows, scores = rows[near], scores[near]
    known = np.round(scores, DIGITS)
    rows, known = rows[known > 0], known[known > 0]
    best: Ints = rows[np.lexsort((rows, -known))][:k]
    return best


def _within(rows: Ints, pool: Ints) -> npt.NDArray[np.bool_]:
    """Tell of each row whether it is in an ascending pool."""
    if not len(pool):
        return np.zeros(len(rows), np.bool_)
    place = np.minimum(np.searchsorted(pool, rows), len(pool) - 1)
    found: npt.NDArray[np.bool_] = pool[place] == rows
    return found


def _masks(excluded: list[Ints], snapshot: Snapshot) -> Masks:
    starts = np.cumsum([0, *(len(rows) for rows in excluded)]).astype(np.int64)
    hidden = np.concatenate(excluded).astype(np.int64)
    return Masks(hidden, starts, snapshot.allowed, np.zeros(len(excluded), np.int64))


def _profiles(
    vectors: Vectors, block: Block, interests: int = 1, fusion: Fusion = MEAN
) -> Profiles:
    """Return the profiles of a block's users over the items that have a vector."""
    known = block.histories.only(np.isfinite(vectors[:, 0]))
    return query_profiles(np.asarray(vectors), known, interests, fusion)


@lru_cache(maxsize=4)
def _filled(catalogue: Catalogue, space: str) -> Vectors:
    """Return a space with rows of 0 where an item has no vector."""
    filled: Vectors = np.nan_to_num(catalogue.space(space))
    return filled


@lru_cache(maxsize=4)
def _snapshot(catalogue: Catalogue, space: str, pool: bytes) -> Snapshot:
    """Return a space as the product's own snapshot; rows with a vector may be listed."""
    vectors = np.asarray(catalogue.space(space)).view(np.ndarray)
    rows = np.frombuffer(pool, np.int64)
    allowed = np.zeros((1, len(vectors)), bool)
    allowed[0, rows[np.isfinite(vectors[rows, 0])]] = True
    return Snapshot.of(catalogue.items.select(["item_id"]), vectors, allowed)

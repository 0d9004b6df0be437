"""Profile maths: the histories of a block of users in, unit vectors for each user out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlm4rec_spark.profiles import kernels
from vlm4rec_spark.profiles.dislikes import turned_away

if TYPE_CHECKING:
    from vlm4rec_spark.config_models import ProfilesConfig

SMALLEST_NORM = 1e-9
"""Below this, for a largest weight of 1, the history cancels out and says nothing."""
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Histories:
    """The histories of a block of users, one behind the other.

    `rows`: rows of the item matrix, int64, ascending within a user; `weights`: float64, 0 for an
    event that only masks, below 0 for one that subtracts; `seen`: bool. The history of user
    number u is `starts[u]:starts[u + 1]`.
    """

    users: list[str]
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]
    segments: tuple[str | None, ...] = ()
    """Segment of each user; empty where nobody has one."""
    texts: tuple[str | None, ...] = ()
    """What each user looks for, in words; empty where nobody said so."""

    def of(self, user: int) -> slice:
        """Return where the history of a user stands."""
        return slice(int(self.starts[user]), int(self.starts[user + 1]))

    def only(self, items: npt.NDArray[np.bool_]) -> Histories:
        """Return the histories without the rows of some items, (n,) bool; all users stay."""
        kept = items[self.rows]
        starts = np.concatenate([[0], np.cumsum(kept)])[self.starts].astype(np.int64)
        rest = (self.rows[kept], self.weights[kept], self.seen[kept])
        return Histories(self.users, starts, *rest, self.segments, self.texts)

    def some(self, users: npt.NDArray[np.int64]) -> Histories:
        """Return the histories of some users, in the order given."""
        sizes = np.diff(self.starts)[users]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        at = np.arange(starts[-1]) + np.repeat(self.starts[users] - starts[:-1], sizes)
        rest = (self.rows[at], self.weights[at], self.seen[at])
        told = (
            tuple(of_all[user] for user in users) if of_all else ()
            for of_all in (self.segments, self.texts)
        )
        return Histories([self.users[user] for user in users], starts, *rest, *told)

    @property
    def owner(self) -> npt.NDArray[np.int64]:
        """Number of the user of each row."""
        return np.repeat(np.arange(len(self.users)), np.diff(self.starts))

    def relative(self) -> npt.NDArray[np.float64]:
        """Return weights with the largest of each user, negative or not, at 1.

        The weights of a user who was away for years are tiny; only their proportions count.
        """
        largest = np.zeros(len(self.users))
        np.maximum.at(largest, self.owner, np.abs(self.weights))
        scale = np.where(largest > 0, largest, 1.0)[self.owner]
        relative: npt.NDArray[np.float64] = self.weights / scale
        return relative


def histories(table: pa.Table, rows: npt.NDArray[np.int64]) -> Histories:
    """Group rows user_id, weight, seen by user, in the order of user ids.

    Args:
        table: one row per user and item, in any order; a null item only names its user.
        rows: the row of the item matrix for each line of the table; -1 for items without a
            vector: these are left out, their users stay.
    """
    encoded = table["user_id"].combine_chunks().dictionary_encode()
    names = encoded.dictionary
    by_name = pc.array_sort_indices(names)
    place = np.empty(len(names), np.int64)
    place[by_name.to_numpy()] = np.arange(len(names))
    owner = place[encoded.indices.to_numpy()]
    known = np.flatnonzero(rows >= 0)
    order = known[np.lexsort((rows[known], owner[known]))]
    starts = np.searchsorted(owner[order], np.arange(len(names) + 1))
    return Histories(
        users=names.take(by_name).to_pylist(),
        starts=starts.astype(np.int64),
        rows=rows[order],
        weights=table["weight"].to_numpy()[order].astype(np.float64),
        seen=np.asarray(table["seen"].combine_chunks().to_numpy(zero_copy_only=False), bool)[order],
        segments=_of_users(table, "segment", owner, len(names)),
        texts=_of_users(table, "text", owner, len(names)),
    )


def _of_users(
    table: pa.Table, column: str, owner: npt.NDArray[np.int64], users: int
) -> tuple[str | None, ...]:
    """Return a column that is the same on all rows of a user, once for each user."""
    if column not in table.column_names:
        return (None,) * users
    row = np.zeros(users, np.int64)
    row[owner] = np.arange(len(owner))
    return tuple(table[column].combine_chunks().take(pa.array(row)).to_pylist())


@dataclass(frozen=True)
class Fusion:
    """How the items of a history come together in the score of another item.

    mean: they are averaged into the vectors of a few interests. Late, each is compared by itself:
    max takes the largest cosine; softmax the mean of all cosines c, each weighing
    w x exp(sharpness x c), w the weight of the item in the history. The mean and the maximum are
    the ends of what softmax does between sharpness 0 and infinity. What a user does not want is
    subtracted from the mean; late, see `dislikes`.
    """

    kind: str = "mean"
    """mean, max or softmax."""
    sharpness: float = 0.0
    """1 / temperature, of softmax alone."""

    @property
    def is_late(self) -> bool:
        """Whether each item of the history is compared by itself."""
        return self.kind != "mean"


MEAN = Fusion()


def fusion_of(config: ProfilesConfig) -> Fusion:
    """Return the configured fusion."""
    return Fusion(config.fusion, 1 / config.temperature if config.fusion == "softmax" else 0.0)


@dataclass(frozen=True)
class Profiles:
    """What the users of a block like, user by user, the interest with most weight first."""

    vectors: Vectors
    """(m, d) float32 rows of length 1; shorter in late fusion, see `liked_items`."""
    owner: npt.NDArray[np.int64]
    """(m,) number of the user, ascending."""
    weights: npt.NDArray[np.float64]
    """(m,) sum of the positive weights behind each vector."""
    labels: npt.NDArray[np.int64]
    """(rows of the histories,) which interest of its user a row belongs to, from 0; -1: none."""

    @cached_property
    def known(self) -> npt.NDArray[np.int64]:
        """Numbers of the users with a profile, ascending."""
        return np.unique(self.owner)

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """The vectors of the u-th user with a profile are `starts[u]:starts[u + 1]`."""
        starts = np.searchsorted(self.owner, self.known)
        return np.append(starts, len(self.owner)).astype(np.int64)


def user_profiles(vectors: Vectors, block: Histories, interests: int = 1) -> Profiles:
    """Return one vector for each interest of each user, scaled to length 1.

    One interest is the weighted mean of the user's unit vectors; of several, each is the mean of
    one group of the history. A negative weight subtracts from the interest its item is nearest
    to. An interest that then no longer leans to what the user liked is none, and a user without
    an interest has no profile.

    Args:
        vectors: (n, d) float32 unit rows.
        block: whose histories.
        interests: most interests of one user.
    """
    relative = block.relative()
    groups = np.zeros(len(block.rows), np.int64)
    if interests > 1:
        kernels.group_history(
            vectors, block.starts, block.rows, relative, np.int64(interests), groups
        )
    sums = np.zeros((len(block.users), interests, vectors.shape[1]))
    wanted, unwanted = np.maximum(relative, 0.0), np.minimum(relative, 0.0)
    kernels.group_sums(vectors, block.starts, block.rows, wanted, groups, sums)
    is_liked = np.ones(sums.shape[:2], bool)
    if unwanted.any():
        liked = sums.copy()
        kernels.group_sums(vectors, block.starts, block.rows, unwanted, groups, sums)
        is_liked = (sums * liked).sum(2) > 0
    norms = np.sqrt((sums * sums).sum(2))
    weights = np.zeros(norms.shape)
    # In the order of the weights: the last bits must not depend on where the matrix has the items.
    by_weight = np.argsort(block.weights, kind="stable")
    of = (block.owner[by_weight], groups[by_weight])
    np.add.at(weights, of, np.maximum(block.weights[by_weight], 0.0))
    order = np.argsort(-weights, axis=1, kind="stable")
    usable = (weights > 0) & (norms >= SMALLEST_NORM) & is_liked
    usable = np.take_along_axis(usable, order, 1)
    owner, place = np.nonzero(usable)
    group = order[owner, place]
    numbers = np.where(usable, np.cumsum(usable, axis=1) - 1, -1)
    numbers = np.take_along_axis(numbers, np.argsort(order, axis=1), 1)
    found = (sums[owner, group] / norms[owner, group, None]).astype(np.float32)
    return Profiles(found, owner, weights[owner, group], numbers[block.owner, groups])


def liked_items(vectors: Vectors, block: Histories) -> Profiles:
    """Return every item that a user likes as an interest of its own, for late fusion.

    Each is turned away from the items of negative weight (see `dislikes`), and then shorter than 1.

    Args:
        vectors: (n, d) float32 unit rows.
        block: whose histories.
    """
    liked = np.flatnonzero(block.weights > 0)
    owner, weights = block.owner, block.relative()
    order = liked[np.lexsort((block.rows[liked], -weights[liked], owner[liked]))]
    starts = np.searchsorted(owner[order], np.arange(len(block.users) + 1))
    labels = np.full(len(block.rows), -1, np.int64)
    labels[order] = np.arange(len(order)) - starts[owner[order]]
    found = vectors[block.rows[order]]
    for user in np.intersect1d(owner[block.weights < 0], owner[order]):
        mine, had = slice(starts[user], starts[user + 1]), block.of(user)
        unwanted = np.flatnonzero(block.weights[had] < 0) + had.start
        parts = -block.weights[unwanted] / block.weights[order[mine]].max()
        found[mine] = turned_away(found[mine], vectors[block.rows[unwanted]], parts)
    return Profiles(found, owner[order], block.weights[order], labels)


def query_profiles(
    vectors: Vectors, block: Histories, interests: int = 1, fusion: Fusion = MEAN
) -> Profiles:
    """Return what is searched with: interests, or the liked items themselves."""
    if fusion.is_late:
        return liked_items(vectors, block)
    return user_profiles(vectors, block, interests)

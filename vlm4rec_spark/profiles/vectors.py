"""Profile maths: the histories of a block of users in, one unit vector per user out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlm4rec_spark.topk.engines import kernels

SMALLEST_NORM = 1e-9
"""Below this, for a largest weight of 1, the history cancels out and says nothing."""
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Histories:
    """The histories of a block of users, one behind the other.

    `rows`: rows of the item matrix, int64, ascending within a user; `weights`: float64, 0 for an
    event that only masks; `seen`: bool. The history of user number u is
    `starts[u]:starts[u + 1]`.
    """

    users: list[str]
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]
    segments: tuple[str | None, ...] = ()
    """Segment of each user; empty where nobody has one."""

    def of(self, user: int) -> slice:
        """Return where the history of a user stands."""
        return slice(int(self.starts[user]), int(self.starts[user + 1]))

    @property
    def owner(self) -> npt.NDArray[np.int64]:
        """Number of the user of each row."""
        return np.repeat(np.arange(len(self.users)), np.diff(self.starts))

    def relative(self) -> npt.NDArray[np.float64]:
        """Return weights with the largest of each user at 1.

        The weights of a user who was away for years are tiny; only their proportions count.
        """
        largest = np.zeros(len(self.users))
        np.maximum.at(largest, self.owner, self.weights)
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
        segments=_segments(table, owner, len(names)),
    )


def _segments(table: pa.Table, owner: npt.NDArray[np.int64], users: int) -> tuple[str | None, ...]:
    """Return the segment of each user, the same on all of a user's rows."""
    if "segment" not in table.column_names:
        return (None,) * users
    row = np.zeros(users, np.int64)
    row[owner] = np.arange(len(owner))
    return tuple(table["segment"].combine_chunks().take(pa.array(row)).to_pylist())


def mean_profiles(vectors: Vectors, block: Histories) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Return the weighted mean of each user's unit vectors, scaled to length 1.

    Args:
        vectors: (n, d) float32 unit rows.
        block: whose histories.

    Returns:
        (users with a profile, d) float32, and the numbers of these users. Without one: users
        with no positive weight, and those whose history cancels out.
    """
    total = np.zeros((len(block.users), vectors.shape[1]))
    kernels.weighted_sums(vectors, block.starts, block.rows, block.relative(), total)
    norms = np.sqrt((total * total).sum(1))
    liked = np.zeros(len(block.users), bool)
    liked[block.owner[block.weights > 0]] = True
    known = np.flatnonzero(liked & (norms >= SMALLEST_NORM))
    return (total[known] / norms[known, None]).astype(np.float32), known


def profile(vectors: Vectors, weights: npt.NDArray[np.float64]) -> Vectors | None:
    """Return the profile of one user; None where there is none.

    Args:
        vectors: (n, d) float32, unit rows.
        weights: (n,) float64, not negative.

    >>> profile(np.eye(2, dtype=np.float32), np.array([1.0, 0.0])).tolist()
    [1.0, 0.0]
    """
    n = len(vectors)
    one = Histories(["user"], np.array([0, n]), np.arange(n), weights, np.ones(n, bool))
    found, known = mean_profiles(np.ascontiguousarray(vectors), one)
    return found[0] if len(known) else None

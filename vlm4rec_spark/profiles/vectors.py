"""Profile maths: a user's history in, one unit vector out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

SMALLEST_NORM = 1e-9
"""Below this, for a largest weight of 1, the history cancels out and says nothing."""


@dataclass(frozen=True)
class Histories:
    """The histories of a block of users, one behind the other.

    `rows`: positions in the item matrix, int64; `weights`: float64, 0 for an event that only
    masks; `seen`: bool. The history of user number u is `starts[u]:starts[u + 1]`.
    """

    users: list[str]
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]

    def of(self, user: int) -> slice:
        """Return where the history of a user stands."""
        return slice(int(self.starts[user]), int(self.starts[user + 1]))


def histories(table: pa.Table, ids: npt.NDArray[np.str_]) -> Histories:
    """Group the rows user_id, item_id, weight, seen by user, in the order of both ids.

    Args:
        table: one row per user and item, in any order; a null item only names its user.
        ids: ids of the item matrix, sorted; others are left out, their users stay.
    """
    table = table.sort_by([("user_id", "ascending"), ("item_id", "ascending")])
    names = np.asarray(table["user_id"].to_pylist(), dtype=np.str_)
    items = np.asarray(table["item_id"].fill_null("").to_pylist(), dtype=np.str_)
    named = np.asarray(table["item_id"].is_valid().to_pylist(), dtype=bool)
    users, first = np.unique(names, return_index=True)
    rows = np.searchsorted(ids, items)
    known = named & (ids[np.minimum(rows, len(ids) - 1)] == items) if len(ids) else named & False
    before = np.concatenate([[0], np.cumsum(known)])
    return Histories(
        users=[str(user) for user in users],
        starts=before[np.append(first, len(names))].astype(np.int64),
        rows=rows[known].astype(np.int64),
        weights=table["weight"].to_numpy()[known].astype(np.float64),
        seen=np.asarray(table["seen"].to_pylist(), bool)[known],
    )


def profile(
    vectors: npt.NDArray[np.float32], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32] | None:
    """Return the weighted mean of unit vectors, scaled to length 1; None where there is none.

    Args:
        vectors: (n, d) float32, unit rows.
        weights: (n,) float64, not negative.

    >>> profile(np.eye(2, dtype=np.float32), np.array([1.0, 0.0])).tolist()
    [1.0, 0.0]
    """
    largest = float(weights.max(initial=0.0))
    if largest <= 0:
        return None
    # The weights of a user who was away for years are tiny; only their proportions count.
    # Float64 and row by row: the same history gives the same bytes in any block.
    total = ((weights / largest)[:, None] * vectors.astype(np.float64)).sum(0)
    norm = float(np.linalg.norm(total))
    if norm < SMALLEST_NORM:
        return None
    unit: npt.NDArray[np.float32] = (total / norm).astype(np.float32)
    return unit

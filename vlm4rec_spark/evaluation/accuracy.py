"""Accuracy of top-k lists, one number per user; pure numpy, read from ranks alone.

All means are over all test users: who has no list counts as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Lists:
    """Rows of lists, all arrays of one length, in order of user and rank.

    `user`, `item`: numbers from 0; `rank`: from 1 without a gap; no item twice in one list.
    """

    user: Ints
    rank: Ints
    item: Ints

    @classmethod
    def ordered(cls, user: Ints, rank: Ints, item: Ints, k: int) -> Lists:
        """Return the first k places of lists given in any order.

        Raises:
            ValueError: a list has a gap, a place filled twice or an item twice.
        """
        order = np.lexsort((rank, user))
        user, rank, item = user[order], rank[order], item[order]
        starts = np.searchsorted(user, user)
        if not np.array_equal(rank, np.arange(len(user)) - starts + 1):
            raise ValueError("ranks must be 1, 2, 3 ... within each list")
        pairs = np.unique(np.stack([user, item]), axis=1) if len(user) else user
        if len(user) and pairs.shape[1] < len(user):
            raise ValueError("a list holds an item twice")
        top = rank <= k
        return cls(user[top], rank[top], item[top])


@dataclass(frozen=True)
class Truth:
    """What the users turned to afterwards: pairs of user and item, none twice."""

    user: Ints
    item: Ints


def matches(lists: Lists, truth: Truth, n_items: int) -> Ints:
    """Return for each row of the lists the row of the truth that it hits, or -1."""
    wanted = truth.user * n_items + truth.item
    order = np.argsort(wanted, kind="stable")
    keys = lists.user * n_items + lists.item
    at = np.searchsorted(wanted, keys, sorter=order)
    found = np.full(len(keys), -1, np.int64)
    inside = np.flatnonzero(at < len(wanted))
    rows = order[at[inside]]
    same = wanted[rows] == keys[inside]
    found[inside[same]] = rows[same]
    return found


def hits(lists: Lists, truth: Truth, n_items: int) -> Flags:
    """Return for each row of the lists whether the user turned to the item."""
    found: Flags = matches(lists, truth, n_items) >= 0
    return found


def accuracy(lists: Lists, hit: Flags, n_relevant: Ints, k: int) -> dict[str, Floats]:
    """Return metric -> one value per user; 0 where there is no list or no hit.

    Binary relevance, G_u the test items of user u (Tamm, Damdinov, Vasilev, RecSys 2021, lists
    which library defines what):

    - NDCG: sum of 1 / log2(rank + 1) over hits, over its maximum for min(k, |G|) hits
      (trec_eval, MLlib, RePlay, ranx; RecTools with `divide_by_achievable=True`).
    - MAP: sum of precision at each hit over min(k, |G|) (RePlay, MLlib
      `meanAveragePrecisionAtK`, implicit; trec_eval and RecTools divide by |G|).
    - Recall: hits / |G|. Precision: hits / k. HitRate: any hit. MRR: 1 / rank of the first hit.

    Args:
        lists: at most k places per user.
        hit: of each row, see `hits`.
        n_relevant: |G| of every user, (users,).
        k: length of a full list.
    """
    n_users = len(n_relevant)
    at_most = np.minimum(n_relevant, k)
    user, rank = lists.user[hit], lists.rank[hit]
    gains = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))])
    n_hits = np.bincount(user, minlength=n_users)
    # Hits stand in order of rank, so the n-th of a user has n - 1 hits before it.
    earlier = np.arange(len(user)) - np.searchsorted(user, user)
    precisions = np.bincount(user, (earlier + 1) / rank, n_users)
    first = np.bincount(user[earlier == 0], 1.0 / rank[earlier == 0], n_users).astype(np.float64)
    return {
        "NDCG": _ratio(np.bincount(user, 1.0 / np.log2(rank + 1), n_users), gains[at_most]),
        "MAP": _ratio(precisions, at_most),
        "Recall": _ratio(n_hits, n_relevant),
        "Precision": n_hits / k,
        "HitRate": (n_hits > 0).astype(np.float64),
        "MRR": first,
    }


def _ratio(above: npt.NDArray[np.generic], below: npt.NDArray[np.generic]) -> Floats:
    upper, lower = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(upper, lower, out=np.zeros_like(upper), where=lower > 0)

"""What lists are like apart from accuracy: new, varied, surprising, fair to rare items.

Per user: novelty, diversity, serendipity, ARP, APLT; NaN where a user has no list to speak of.
Per arm, from how often each item is listed: coverage, Gini, hub skewness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Flags, Floats, Ints, Lists

HEAD_SHARE = 0.8
"""The head is the smallest set of most popular items with this share of all training users."""


def novelty(lists: Lists, item_users: Ints, n_train_users: int, n_users: int) -> Floats:
    """Return the mean of -log2(max(users of the item, 1) / users) over each list, in bits.

    Vargas and Castells 2011; as RecTools `MeanInvUserFreq`. A cold item counts as one user's.
    """
    bits = -np.log2(np.maximum(item_users, 1) / max(n_train_users, 1))
    return _mean_of_lists(lists, bits[lists.item], n_users)


def average_popularity(lists: Lists, item_users: Ints, n_users: int) -> Floats:
    """Return ARP: the mean number of training users of the listed items."""
    return _mean_of_lists(lists, item_users[lists.item].astype(np.float64), n_users)


def long_tail_share(lists: Lists, is_tail: Flags, n_users: int) -> Floats:
    """Return APLT: the share of each list that is long tail (see `long_tail`)."""
    return _mean_of_lists(lists, is_tail[lists.item].astype(np.float64), n_users)


def long_tail(item_users: Ints) -> Flags:
    """Tell which items are outside the head; ties at the border belong to the tail."""
    order = np.argsort(-item_users, kind="stable")
    before = np.cumsum(item_users[order]) - item_users[order]
    tail = np.ones(len(item_users), bool)
    tail[order[(before < HEAD_SHARE * item_users.sum()) & (item_users[order] > 0)]] = False
    return tail


def diversity(lists: Lists, vectors: npt.NDArray[np.float32], n_users: int) -> Floats:
    """Return the mean of 1 - cosine over all pairs of each list (Ziegler et al. 2005).

    From the length of the sum of a list's unit vectors, so no pair is ever formed. Items without
    a vector (NaN rows) are left out; lists with fewer than two others are NaN, not 0.

    Args:
        lists: the lists.
        vectors: (items, d) unit rows, in a space the lists were not made with.
        n_users: number of users.
    """
    rows = vectors[lists.item].astype(np.float64)
    usable = np.isfinite(rows[:, 0]) if rows.size else np.zeros(len(rows), bool)
    user, rows = lists.user[usable], rows[usable]
    count = np.bincount(user, minlength=n_users).astype(np.float64)
    total = np.zeros((n_users, vectors.shape[1]))
    if len(user):
        first = np.flatnonzero(np.diff(user, prepend=-1))
        total[user[first]] = np.add.reduceat(rows, first, axis=0)
    alike = (total**2).sum(1) - np.bincount(user, (rows**2).sum(1), n_users)
    pairs = count * (count - 1)
    cosine = np.divide(alike, pairs, out=np.full(n_users, np.nan), where=pairs > 0)
    spread: Floats = 1.0 - cosine
    return spread


def chance_of_anyone(item_users: Ints) -> Floats:
    """Return how probable an item is for just anyone, by its popularity rank; 0 for a cold item.

    (items + 1 - rank) / items, where items that are equally popular share a rank and the next rank
    follows; as in RecTools' serendipity.
    """
    n_items = len(item_users)
    popularity_rank = np.unique(-item_users, return_inverse=True)[1] + 1
    chance: Floats = np.where(item_users > 0, n_items + 1 - popularity_rank, 0) / n_items
    return chance


def serendipity(lists: Lists, hit: Flags, anyone: Floats, n_users: int) -> Floats:
    """Return the mean of max(p_user - p_any, 0) over each list, of hits only, as RecTools.

    Args:
        lists: the lists; p_user = (items + 1 - rank) / items.
        hit: of each row.
        anyone: p_any of every item, see `chance_of_anyone`.
        n_users: number of users.
    """
    n_items = len(anyone)
    p_user = (n_items + 1 - lists.rank) / n_items
    surprise = np.maximum(p_user - anyone[lists.item], 0.0)
    return _mean_of_lists(lists, surprise * hit, n_users)


def coverage(listed: Ints, n_candidates: int) -> float:
    """Return the share of the candidates that are listed for anybody (Shani, Gunawardana 2010)."""
    return float((listed > 0).sum() / n_candidates) if n_candidates else 0.0


def gini(listed: Ints) -> float:
    """Return how uneven exposure is: 0 all candidates alike, near 1 one item has it all.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    total = listed.sum()
    if not total:
        return 0.0
    n = len(listed)
    places = 2 * np.arange(1, n + 1) - n - 1
    return float((places * np.sort(listed)).sum() / (n * total))


def hub_skewness(listed: Ints) -> float:
    """Return the skewness of how often each candidate is listed; large where few items are hubs.

    Radovanovic, Nanopoulos, Ivanovic 2010: the third standardised moment of the k-occurrences.
    """
    spread = float(np.std(listed))
    if not spread:
        return 0.0
    return float((((listed - listed.mean()) / spread) ** 3).mean())


def _mean_of_lists(lists: Lists, values: Floats, n_users: int) -> Floats:
    count = np.bincount(lists.user, minlength=n_users)
    total = np.bincount(lists.user, values, n_users)
    mean: Floats = np.divide(total, count, out=np.full(n_users, np.nan), where=count > 0)
    return mean

"""Parts of the users and of the test items that are looked at apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.evaluation.beyond import long_tail

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Floats, Ints
    from vlm4rec_spark.evaluation.catalogue import Catalogue

EVERYONE = ("everyone", "all")
"""Slice and segment of all users."""
HISTORY = ((3, "1-2"), (10, "3-9"), (30, "10-29"))
AGES = ((2, "day 0-1"), (8, "day 2-7"), (31, "day 8-30"))
"""Upper bound (not included) and label; whatever is above has a label of its own."""
OLD, LONG = "older", "30+"
MOST_CATEGORIES = 12
OTHER = "other"
BANDS = ("low third", "middle third", "high third")
Labels = npt.NDArray[np.str_]


def binned(
    values: npt.NDArray[np.generic], bins: tuple[tuple[int, str], ...], above: str
) -> Labels:
    """Return the label of each value.

    >>> binned(np.array([1, 3, 50]), HISTORY, LONG).tolist()
    ['1-2', '3-9', '30+']
    """
    place = np.searchsorted([bound for bound, _ in bins], values, side="right")
    return np.array([label for _, label in bins] + [above])[place]


def item_slices(catalogue: Catalogue) -> dict[str, Labels]:
    """Return slice -> label of every item; an empty label belongs to no segment.

    `temperature`: cold (no training event) or warm; `popularity`: warm items of the head (the
    fewest items with 80 % of the training users) or the tail; `category`: the largest, and the
    others together; `price`: thirds within the category.
    """
    cold, tail = catalogue.is_cold, long_tail(catalogue.users)
    return {
        "temperature": np.where(cold, "cold", "warm"),
        "popularity": np.where(cold, "", np.where(tail, "tail", "head")),
        "category": _categories(catalogue),
        "price": _bands(catalogue),
    }


def _categories(catalogue: Catalogue) -> Labels:
    raw = np.array([name or "" for name in catalogue.items["category"].to_pylist()])
    names, counts = np.unique(raw, return_counts=True)
    largest = names[np.argsort(-counts, kind="stable")][:MOST_CATEGORIES]
    return np.where(np.isin(raw, largest) | (raw == ""), raw, OTHER)


def _bands(catalogue: Catalogue) -> Labels:
    """Return the third of its category that each item's price lies in; '' without a price."""
    prices: Floats = catalogue.items["price"].cast("float64").to_numpy(zero_copy_only=False)
    category = np.array([name or "" for name in catalogue.items["category"].to_pylist()])
    labels = np.full(len(prices), "", dtype="<U12")
    for name in np.unique(category):
        rows: Ints = np.flatnonzero((category == name) & np.isfinite(prices))
        place = np.argsort(np.argsort(prices[rows], kind="stable"), kind="stable")
        labels[rows] = np.array(BANDS)[place * len(BANDS) // max(len(rows), 1)]
    return labels

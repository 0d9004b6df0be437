"""Nearest items in one space, exactly, and how spaces differ in them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
QUERIES_AT_A_TIME = 512
NONE = -1
"""Stands where an item has fewer neighbours than asked for, or no vector."""
DIGITS = 6
PAIRS = 20_000
"""Random pairs of items that distances are correlated over."""


def nearest(vectors: Vectors, rows: Ints, k: int) -> Ints:
    """Return the k nearest other rows of each of `rows`, (rows, k), best first, ties by row.

    Args:
        vectors: (n, d) unit rows; NaN where an item has none: it is nobody's neighbour.
        rows: rows to look from.
        k: neighbours wanted; `NONE` fills what is missing.
    """
    usable = np.flatnonzero(np.isfinite(vectors[:, 0]))
    known = np.ascontiguousarray(vectors[usable])
    found = np.full((len(rows), k), NONE, np.int64)
    width = min(k, max(len(usable) - 1, 0))
    for start in range(0, len(rows), QUERIES_AT_A_TIME):
        part = rows[start : start + QUERIES_AT_A_TIME]
        own = np.isfinite(vectors[part, 0])
        if not width or not own.any():
            continue
        scores = np.round(vectors[part[own]] @ known.T, DIGITS)
        scores[part[own][:, None] == usable[None, :]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
        places = np.flatnonzero(own) + start
        found[places[:, None], np.arange(width)[None, :]] = usable[order]
    return found


def overlap(left: Ints, right: Ints) -> Floats:
    """Return the share of neighbours that two spaces have in common, per row; NaN without any.

    |A and B| / k' with k' the longer of the two lists: 1 the same neighbours, 0 none.
    """
    shared = np.array(
        [
            len(np.intersect1d(a[a != NONE], b[b != NONE]))
            for a, b in zip(left, right, strict=True)
        ],
        np.float64,
    )  # fmt: skip
    size = np.maximum((left != NONE).sum(1), (right != NONE).sum(1))
    both = ((left != NONE).any(1)) & ((right != NONE).any(1))
    share: Floats = np.divide(shared, size, out=np.full(len(left), np.nan), where=both)
    return share


def times_listed(neighbours: Ints, n: int) -> Ints:
    """Return how often each item is a neighbour (its k-occurrence), (n,)."""
    listed = neighbours[neighbours != NONE]
    return np.bincount(listed, minlength=n).astype(np.int64)


def agreement(neighbours: Ints, rows: Ints, codes: Ints) -> tuple[float, float, float]:
    """Return how often neighbours share an attribute's value: found, by chance, at best.

    Chance is a random other item; best is what an oracle finds that lists all items of the same
    value first. Items without a value (code -1) are neither asked nor counted.

    Args:
        neighbours: of `nearest`.
        rows: the rows asked, as given to `nearest`.
        codes: (n,) number of each item's value, -1 for none.
    """
    asked = codes[rows] >= 0
    around, own = neighbours[asked], codes[rows[asked]]
    counted = (around != NONE) & (codes[np.maximum(around, 0)] >= 0)
    if not counted.any():
        return float("nan"), float("nan"), float("nan")
    same = (codes[np.maximum(around, 0)] == own[:, None]) & counted
    sizes = np.bincount(codes[codes >= 0])
    others, total = sizes[own] - 1, int(sizes.sum()) - 1
    k = counted.sum(1)
    used = k > 0
    found = (same.sum(1)[used] / k[used]).mean()
    best = (np.minimum(others, k)[used] / k[used]).mean()
    return float(found), float((others[used] / max(total, 1)).mean()), float(best)


def distance_correlation(vectors: Vectors, tags: npt.NDArray[np.bool_], seed: int) -> float:
    """Return the rank correlation of vector distance with tag distance (CorrEmbed, 2308.16126).

    Over random pairs: 1 - cosine of the vectors against 1 - Jaccard of the tag sets. 1: the space
    puts things apart exactly as their tags do; 0: it knows nothing of them.

    Args:
        vectors: (n, d) unit rows, NaN where there is none.
        tags: (n, t) which tags an item has.
        seed: of the pairs.
    """
    usable = np.flatnonzero(np.isfinite(vectors[:, 0]) & tags.any(1))
    if len(usable) < 3:  # noqa: PLR2004 - fewer have no two different pairs
        return float("nan")
    rng = np.random.default_rng(seed)
    left, right = usable[rng.integers(0, len(usable), (2, PAIRS))]
    apart = left != right
    left, right = left[apart], right[apart]
    by_vector = 1.0 - np.einsum("ij,ij->i", vectors[left], vectors[right]).astype(np.float64)
    both = (tags[left] & tags[right]).sum(1)
    either = (tags[left] | tags[right]).sum(1)
    by_tags = 1.0 - both / np.maximum(either, 1)
    first, second = _ranks(by_vector), _ranks(by_tags)
    if not first.std() or not second.std():
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Return ranks, the mean of their ranks for equal values."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(size) - (size - 1) / 2)[group]
    return ranks

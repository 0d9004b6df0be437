"""Grouping of histories in compiled code; see `topk.engines.kernels`."""

from __future__ import annotations

import numpy as np
from numba import njit

ROUNDS = 10
SAME = 1e-5
"""Items whose cosine is this near to 1 never start two groups."""


@njit(cache=True, nogil=True)
def cosine(vector, centre):
    """Return the inner product of an item's vector and a centre, in float64."""
    total = 0.0
    for d in range(vector.shape[0]):
        total += np.float64(vector[d]) * centre[d]
    return total


@njit(cache=True, nogil=True)
def nearest(vector, centres, count):
    """Return which of the first `count` centres is nearest; the first of equally near ones."""
    best, best_cosine = 0, -np.inf
    for c in range(count):
        alike = cosine(vector, centres[c])
        if alike > best_cosine:
            best, best_cosine = c, alike
    return best


@njit(cache=True, nogil=True)
def spread_centres(vectors, rows, weights, centres):
    """Write the first centres of one history: the heaviest item, then what is heavy and far.

    Next is the item with the largest weight x (1 - cosine with the nearest centre). Returns how
    many there are: fewer than `centres` has rows where the history has fewer different items.
    """
    missing = np.ones(len(rows))
    count = 0
    while count < centres.shape[0]:
        best, at = SAME, -1
        for i in range(len(rows)):
            if weights[i] > 0 and missing[i] > SAME and weights[i] * missing[i] > best:
                best, at = weights[i] * missing[i], i
        if at < 0:
            break
        for d in range(centres.shape[1]):
            centres[count, d] = vectors[rows[at], d]
        for i in range(len(rows)):
            missing[i] = min(missing[i], 1.0 - cosine(vectors[rows[i]], centres[count]))
        count += 1
    return count


@njit(cache=True, nogil=True)
def group_history(vectors, starts, rows, weights, groups, labels):
    """Group each user's history by weighted spherical k-means.

    Nothing is drawn by chance and one row comes after the other: the same history gives the same
    groups in any block. Items of negative weight found no group; they join the nearest one.

    Args:
        vectors: (n, d) float32 unit rows.
        starts: the history of user u is `starts[u]:starts[u + 1]` of `rows`, `weights`.
        rows: rows of the histories.
        weights: float64, the largest of a user 1.
        groups: most groups of a user.
        labels: (rows,) int64, zeros; written: the group of each row.
    """
    dimensions = vectors.shape[1]
    for user in range(len(starts) - 1):
        mine = rows[starts[user] : starts[user + 1]]
        mass = weights[starts[user] : starts[user + 1]]
        group = labels[starts[user] : starts[user + 1]]
        centres = np.zeros((groups, dimensions))
        count = spread_centres(vectors, mine, mass, centres)
        for _ in range(ROUNDS):
            moved = False
            sums = np.zeros((groups, dimensions))
            for i in range(len(mine)):
                if mass[i] > 0:
                    c = nearest(vectors[mine[i]], centres, count)
                    moved = moved or c != group[i]
                    group[i] = c
                    for d in range(dimensions):
                        sums[c, d] += mass[i] * np.float64(vectors[mine[i], d])
            for c in range(count):
                norm = np.sqrt((sums[c] * sums[c]).sum())
                if norm > 0:
                    centres[c] = sums[c] / norm
            if not moved:
                break
        for i in range(len(mine)):
            if mass[i] < 0:
                group[i] = nearest(vectors[mine[i]], centres, count)


@njit(cache=True, nogil=True)
def group_sums(vectors, starts, rows, weights, labels, out):
    """Add weight x vector of each row of a user to the sum of its group.

    In float64 and one row after the other: the same history gives the same bytes in any block.

    Args:
        vectors: (n, d) float32.
        starts: the history of user u is `starts[u]:starts[u + 1]` of the next three.
        rows: rows of the histories.
        weights: float64.
        labels: group of each row.
        out: (users, groups, d) float64.
    """
    for user in range(len(starts) - 1):
        for at in range(starts[user], starts[user + 1]):
            if weights[at] != 0.0:
                vector = vectors[rows[at]]
                total = out[user, labels[at]]
                for d in range(vector.shape[0]):
                    total[d] += weights[at] * np.float64(vector[d])

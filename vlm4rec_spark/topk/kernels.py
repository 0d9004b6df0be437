"""Filling lists from candidates, in compiled code: interests in turns, re-ranking.

numba compiles them at first use and keeps the result on disk.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vlm4rec_spark.topk.engines.kernels import alike


@njit(cache=True, nogil=True)
def take_turns(found, starts, weights, out):
    """Merge the lists of a user's interests into one, none twice, by highest averages.

    The next place goes to the interest with the largest weight / (2 x places it has + 1), as in
    the method of Sainte-Lague; ties to the first.

    Args:
        found: (interests, k) rows, best first, -1 behind the last.
        starts: user u has the interests `starts[u]:starts[u + 1]`.
        weights: (interests,) float64.
        out: (users, k) int64, all -1; written.
    """
    k = found.shape[1]
    for user in range(out.shape[0]):
        first, count = starts[user], starts[user + 1] - starts[user]
        cursor, won = np.zeros(count, np.int64), np.zeros(count, np.int64)
        place = 0
        while place < out.shape[1]:
            best, turn = -1.0, -1
            for i in range(count):
                average = weights[first + i] / (2.0 * won[i] + 1.0)
                if cursor[i] < k and found[first + i, cursor[i]] >= 0 and average > best:
                    best, turn = average, i
            if turn < 0:
                break
            row = found[first + turn, cursor[turn]]
            cursor[turn] += 1
            twice = False
            for p in range(place):
                twice = twice or out[user, p] == row
            if not twice:
                out[user, place] = row
                won[turn] += 1
                place += 1


@njit(cache=True, nogil=True)
def fits(row, codes, limits, counts, promoted, slot):
    """Tell whether a row may take a slot: no cap is reached, and it has what the slot asks for."""
    if slot >= 0 and not promoted[slot, row]:
        return False
    for cap in range(len(limits)):
        code = codes[cap, row]
        if code >= 0 and counts[cap, code] >= limits[cap]:
            return False
    return True


@njit(cache=True, nogil=True)
def arrange(
    vectors, rows, values, codes, limits, counts, promoted, slots, pins, near_equal, relevance, out
):
    """Fill lists greedily: in each place the best candidate that fits.

    Best is the largest relevance x value - (1 - relevance) x (largest cosine with what is listed),
    which is maximal marginal relevance (Carbonell and Goldstein 1998); ties go to the earlier.

    Args:
        vectors: (n, d) float32 unit rows.
        rows: (u, c) candidates, best first, -1 for none.
        values: (u, c) what each is worth.
        codes: (caps, n) the value an item has in each capped column, -1: not capped.
        limits: (caps,) items of one value at most.
        counts: (caps, codes) int64, all zero; so it is when this returns.
        promoted: (p, n) bool, which items each promotion is for.
        slots: (k,) promotion a place is reserved for, -1: for none. Where no candidate has it,
            any may stand there.
        pins: (u, k) row that must stand in a place, -1: none.
        near_equal: cosine from which two items count as one; above 1: never.
        relevance: lambda, 1 looks at values alone.
        out: (u, k) int64, written; -1 where no candidate fits.
    """
    width = rows.shape[1]
    diverse = relevance < 1.0 or near_equal <= 1.0
    for user in range(rows.shape[0]):
        closest = np.full(width, -1.0, np.float32)
        used = rows[user] < 0
        for place in range(out.shape[1]):  # pinned items are nowhere else
            for c in range(width):
                if pins[user, place] >= 0 and rows[user, c] == pins[user, place]:
                    used[c] = True
        for place in range(out.shape[1]):
            chosen = pins[user, place]
            at = -1
            for slot in (slots[place], -1):
                if chosen >= 0 or at >= 0:
                    break
                best = -np.inf
                for c in range(width):
                    if used[c] or closest[c] >= near_equal:
                        continue
                    value = values[user, c]
                    if relevance < 1.0:
                        value = relevance * value - (1.0 - relevance) * closest[c]
                    if value > best and fits(rows[user, c], codes, limits, counts, promoted, slot):
                        best, at = value, c
            if at >= 0:
                used[at] = True
                chosen = rows[user, at]
            out[user, place] = chosen
            if chosen < 0:
                continue
            for cap in range(len(limits)):
                if codes[cap, chosen] >= 0:
                    counts[cap, codes[cap, chosen]] += 1
            if diverse:
                for c in range(width):
                    if not used[c]:
                        near = alike(vectors[rows[user, c]], vectors[chosen])
                        closest[c] = max(closest[c], near)
        for place in range(out.shape[1]):
            if out[user, place] >= 0:
                for cap in range(len(limits)):
                    if codes[cap, out[user, place]] >= 0:
                        counts[cap, codes[cap, out[user, place]]] = 0

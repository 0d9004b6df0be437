"""Selection loops in compiled code: what BLAS does not do and numpy does slowly.

numba compiles them at first use and keeps the result on disk. Nothing here knows of engines.
"""

from __future__ import annotations

import numpy as np
from numba import njit

STRIDE = 32
"""Scores compared at once; LLVM turns the counting loop into vector instructions."""


@njit(cache=True, nogil=True)
def keep_largest(scores, rows, n, k):
    """Move the k largest of the first n scores, and their rows, to the front (quickselect)."""
    low, high = 0, n - 1
    while low < high:
        pivot = scores[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while scores[i] > pivot:
                i += 1
            while scores[j] < pivot:
                j -= 1
            if i <= j:
                scores[i], scores[j] = scores[j], scores[i]
                rows[i], rows[j] = rows[j], rows[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return


@njit(cache=True, nogil=True)
def is_hidden(hidden, start, stop, row):
    """Tell whether a row is among `hidden[start:stop]`, ascending."""
    while start < stop:
        middle = (start + stop) >> 1
        if hidden[middle] < row:
            start = middle + 1
        elif hidden[middle] > row:
            stop = middle
        else:
            return True
    return False


@njit(cache=True, nogil=True)
def collect(
    tile, queries, first_row, hidden, starts, allowed, group, scores, rows, counts, floors, k
):
    """Add the scores of a tile that beat each query's k-th best so far to the query's buffer.

    Args:
        tile: (m, n) float32 scores of m queries with the rows from `first_row` on.
        queries: (m,) which query each line of the tile belongs to.
        first_row: row number of the first column.
        hidden: rows hidden from single queries, ascending within a query.
        starts: query q hides `hidden[starts[q]:starts[q + 1]]`.
        allowed: (g, n_rows) bool, what may be listed for a group of queries.
        group: (q,) line of `allowed` for each query.
        scores: (q, capacity) float32 buffers; capacity > k.
        rows: (q, capacity) int32, the rows behind them.
        counts: (q,) how full each buffer is.
        floors: (q,) float32, scores up to here no longer count.
        k: rows wanted.
    """
    n = tile.shape[1]
    capacity = scores.shape[1]
    whole = n - n % STRIDE
    for line in range(tile.shape[0]):
        query = queries[line]
        values = tile[line]
        may = allowed[group[query]]
        floor, count = floors[query], counts[query]
        for begin in range(0, n, STRIDE):
            end = min(begin + STRIDE, n)
            if begin < whole:
                above = 0
                for j in range(begin, begin + STRIDE):
                    above += values[j] > floor
                if above == 0:
                    continue
            for j in range(begin, end):
                row = first_row + j
                if values[j] <= floor or not may[row]:
                    continue
                if is_hidden(hidden, starts[query], starts[query + 1], row):
                    continue
                scores[query, count] = values[j]
                rows[query, count] = row
                count += 1
                if count == capacity:
                    keep_largest(scores[query], rows[query], count, k)
                    count = k
                    floor = scores[query, :k].min()
        floors[query], counts[query] = floor, count


@njit(cache=True, nogil=True)
def finish(scores, rows, counts, k):
    """Keep the k best of each buffer; unused places of `rows[:, :k]` become -1."""
    for query in range(scores.shape[0]):
        if counts[query] > k:
            keep_largest(scores[query], rows[query], counts[query], k)
            counts[query] = k
        for place in range(counts[query], min(k, rows.shape[1])):
            rows[query, place] = -1


@njit(cache=True, nogil=True, fastmath=True)
def dots(vectors, queries, rows, out):
    """Write the inner product, in float64, of each query with each of its rows (-1: -inf)."""
    dimensions = vectors.shape[1]
    for query in range(rows.shape[0]):
        left = queries[query]
        for place in range(rows.shape[1]):
            row = rows[query, place]
            if row < 0:
                out[query, place] = -2.0
                continue
            right = vectors[row]
            total = 0.0
            for d in range(dimensions):
                total += np.float64(left[d]) * np.float64(right[d])
            out[query, place] = total


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
def insert(parts, found, count, part, row):
    """Put a row among the largest parts so far, `count` of them; return how many there are then."""
    if count == len(parts):
        if part <= parts[count - 1]:
            return count
        count -= 1
    at = count
    while at > 0 and parts[at - 1] < part:
        parts[at], found[at] = parts[at - 1], found[at - 1]
        at -= 1
    parts[at], found[at] = part, row
    return count + 1


@njit(cache=True, nogil=True)
def cosine(left, right):
    """Return the inner product of two vectors, summed in float32 in a fixed order."""
    total = np.float32(0.0)
    for d in range(left.shape[0]):
        total += left[d] * right[d]
    return np.float64(total)


@njit(cache=True, nogil=True)
def strongest(
    vectors, likes, starts, rows, lines, weights, labels, listed, interest, sharpness, out, share
):
    """Find, for each listed item, the items of the history that add most to its score.

    Args:
        vectors: (n, d) float32.
        likes: (m, d) float32 what items of the history are compared as.
        starts: the history of user u is `starts[u]:starts[u + 1]` of `rows`, `lines`, `weights`.
        rows: rows of the history.
        lines: line of `likes` of each row of the history that counts.
        weights: float64; those not above 0 do not count.
        labels: interest that each row of the history belongs to.
        listed: (u, k) rows, -1 for an empty place.
        interest: (u, k) interest that each listed item is scored by.
        sharpness: an item adds weight x exp(sharpness x (cosine - the largest)) x cosine.
        out: (u, k, m) int64, written: the m rows of the history that add most, -1 behind the
            last. Behind the first only those that add anything.
        share: (u, k, m) float64, written: their parts of the sum of all positive contributions.
    """
    parts = np.empty(out.shape[2])
    for user in range(listed.shape[0]):
        for place in range(listed.shape[1]):
            row = listed[user, place]
            found, count, total = out[user, place], 0, 0.0
            found[:] = -1
            share[user, place] = 0.0
            if row >= 0:
                largest = -1.0
                if sharpness > 0.0:
                    for at in range(starts[user], starts[user + 1]):
                        if weights[at] > 0 and labels[at] == interest[user, place]:
                            largest = max(largest, cosine(likes[lines[at]], vectors[row]))
                for at in range(starts[user], starts[user + 1]):
                    if weights[at] <= 0 or labels[at] != interest[user, place]:
                        continue
                    near = cosine(likes[lines[at]], vectors[row])
                    pull = np.exp(sharpness * (near - largest)) if sharpness > 0.0 else 1.0
                    part = round(weights[at] * pull * near, 6)
                    total += max(part, 0.0)
                    count = insert(parts, found, count, part, rows[at])
            while count > 1 and parts[count - 1] <= 0.0:
                count -= 1
                found[count] = -1
            for nth in range(count):
                if total > 0.0:
                    share[user, place, nth] = max(parts[nth], 0.0) / total


@njit(cache=True, nogil=True)
def leaf_sums(vectors, leaves, out, counts):
    """Add each vector to the sum of its leaf."""
    for row in range(vectors.shape[0]):
        leaf = leaves[row]
        counts[leaf] += 1
        for d in range(vectors.shape[1]):
            out[leaf, d] += vectors[row, d]


@njit(cache=True, nogil=True, fastmath=True)
def alike(left, right):
    """Return the inner product of two vectors, in float32, summed in whatever order is fastest."""
    total = np.float32(0.0)
    for d in range(left.shape[0]):
        total += left[d] * right[d]
    return total


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

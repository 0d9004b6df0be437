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
def product(left, right):
    """Return the inner product of two vectors in float64.

    Summed in the order that suits the processor: another one shows far behind the digits kept.
    """
    total = 0.0
    for d in range(left.shape[0]):
        total += np.float64(left[d]) * np.float64(right[d])
    return total


@njit(cache=True, nogil=True)
def dots(vectors, queries, rows, out):
    """Write the inner product, in float64, of each query with each of its rows (-1: -2)."""
    for query in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[query, place]
            out[query, place] = product(queries[query], vectors[row]) if row >= 0 else -2.0


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
                            largest = max(largest, product(likes[lines[at]], vectors[row]))
                for at in range(starts[user], starts[user + 1]):
                    if weights[at] <= 0 or labels[at] != interest[user, place]:
                        continue
                    near = product(likes[lines[at]], vectors[row])
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
def keep_best(vectors, queries, order, candidates, hidden, starts, allowed, group, found):
    """Find the best candidates of each query that no mask hides.

    Args:
        vectors: (n, d) float32.
        queries: (q, d) float32.
        order: (q,) numbers of the queries, in the order to take them.
        candidates: (q, width) rows, none twice in a line, -1 for none.
        hidden: as for `collect`.
        starts: as for `collect`.
        allowed: as for `collect`.
        group: as for `collect`.
        found: (q, k) int64, all -1; written.
    """
    width, k = candidates.shape[1], found.shape[1]
    scores, rows = np.empty(width, np.float32), np.empty(width, np.int64)
    for query in order:
        may, count = allowed[group[query]], 0
        for place in range(width):
            row = candidates[query, place]
            if row < 0 or not may[row]:
                continue
            if is_hidden(hidden, starts[query], starts[query + 1], row):
                continue
            rows[count] = row
            count += 1
        for place in range(count):
            scores[place] = alike(vectors[rows[place]], queries[query])
        if count > k:
            keep_largest(scores, rows, count, k)
        for place in range(min(count, k)):
            found[query, place] = rows[place]

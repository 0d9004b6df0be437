"""Which items are one thing to a shopper: variants of a product, or the same picture."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from vlm4rec_spark.evaluation.accuracy import Ints

MOST_ALIKE = 10
"""More items with one picture are a stand-in ('no photo yet'), not the same thing."""


def variant_groups(items: pa.Table) -> Ints:
    """Return the number of each item's group; items that share nothing have one of their own.

    Two items are in one group when they share `variant_group`, or `request_key` (equal pictures),
    or when a chain of such items leads from one to the other.
    """
    n = len(items)
    parent = list(range(n))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for name, most in (("variant_group", n), ("request_key", MOST_ALIKE)):
        values = items[name].to_pylist()
        counts = Counter(value for value in values if value is not None)
        first: dict[str, int] = {}
        for row, value in enumerate(values):
            if value is not None and 1 < counts[value] <= most:
                parent[root(row)] = root(first.setdefault(value, row))
    return np.array([root(row) for row in range(n)], np.int64)

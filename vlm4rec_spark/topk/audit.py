"""How many of the exactly best items a search finds, measured on sampled users."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlm4rec_spark.topk.engines import kernels

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Rows, Vectors

TOLERANCE = 2e-6
"""Scores are rounded to six digits: within this an item is as good as the last exact one."""
Z95 = 1.96


@dataclass(frozen=True)
class Recall:
    """Mean recall over users, and the lower end of its 95 % interval (normal approximation)."""

    mean: float
    low: float
    users: int


@dataclass(frozen=True)
class Audit:
    """What an engine finds for users and for items, each on a sample of its own."""

    lists: Recall
    neighbours: Recall

    @property
    def worst(self) -> Recall:
        """The lower one of both."""
        return min(self.lists, self.neighbours, key=lambda recall: recall.mean)


def recall_of(vectors: Vectors, queries: Vectors, found: Rows, exact: Rows) -> Recall:
    """Compare rows by their scores: one counts when it is as good as the last exact one.

    Args:
        vectors: (n, d) unit rows.
        queries: (users, d).
        found: (users, k) rows, -1 for an empty place.
        exact: (users, k) rows of exact search, -1 for an empty place.
    """
    n = len(queries)
    if not n:
        return Recall(1.0, 1.0, 0)
    best, ours = np.empty(exact.shape), np.empty(found.shape)
    kernels.dots(vectors, queries, exact, best)
    kernels.dots(vectors, queries, found, ours)
    best[exact < 0] = np.inf
    wanted = (exact >= 0).sum(1)
    hits = ((ours >= best.min(1, initial=np.inf)[:, None] - TOLERANCE) & (found >= 0)).sum(1)
    shares = np.where(wanted > 0, np.minimum(hits, wanted) / np.maximum(wanted, 1), 1.0)
    spread = float(shares.std(ddof=1)) if n > 1 else 0.0
    mean = float(shares.mean())
    return Recall(mean, mean - Z95 * spread / math.sqrt(n), n)

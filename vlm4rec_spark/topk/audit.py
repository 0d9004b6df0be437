"""How many of the exactly best items a list holds, measured on sampled users."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOLERANCE = 2e-6
"""Scores are rounded to six digits: within this an item is as good as the last exact one."""
Z95 = 1.96


@dataclass(frozen=True)
class Recall:
    """Mean recall over users, and the lower end of its 95 % interval (normal approximation)."""

    mean: float
    low: float
    users: int


def recall(listed: Mapping[str, Sequence[float]], exact: Mapping[str, Sequence[float]]) -> Recall:
    """Compare lists by their scores: an item counts when it is as good as the last exact one.

    Args:
        listed: exact scores of the items of each user's list.
        exact: scores of the items of each user's exact list, best first.
    """
    shares = []
    for user, scores in exact.items():
        if scores:
            worst = min(scores) - TOLERANCE
            hits = sum(score >= worst for score in listed.get(user, ()))
            shares.append(min(hits, len(scores)) / len(scores))
    n = len(shares)
    if not n:
        return Recall(1.0, 1.0, 0)
    mean = sum(shares) / n
    variance = sum((share - mean) ** 2 for share in shares) / max(1, n - 1)
    return Recall(mean, mean - Z95 * math.sqrt(variance / n), n)

"""Paired bootstrap over users: intervals of means, and of differences to a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Floats

DRAWS_AT_A_TIME = 500
LOW, HIGH = 2.5, 97.5


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def resampled_means(sums: Floats, counts: Floats, resamples: int, seed: int) -> Floats:
    """Return the mean of every column in every resample, (resamples, columns).

    Units are drawn with replacement, the same ones for all columns: that is what makes
    differences between columns paired. A unit is a user, or a random group of users: the mean is
    the drawn sums over the drawn counts either way.

    Args:
        sums: (units, columns) sum of the metric over the users of a unit.
        counts: (units, columns) number of users in it; 0 where the unit has none in a column.
        resamples: number of draws.
        seed: the same seed gives the same draws.
    """
    n = len(sums)
    rng = np.random.default_rng(seed)
    means = []
    for first in range(0, resamples, DRAWS_AT_A_TIME):
        rows = min(DRAWS_AT_A_TIME, resamples - first)
        drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        weights = times.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append((weights @ sums) / (weights @ counts))
    return np.concatenate(means) if means else np.empty((0, sums.shape[1]))


def interval(value: float, draws: Floats) -> Interval:
    """Return the percentile interval; draws without any user (NaN) do not count."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.percentile(known, [LOW, HIGH])
    return Interval(value, float(low), float(high))


def two_sided_p(differences: Floats) -> float:
    """Return how often the resampled difference has the other sign, doubled, never 0.

    One draw is added to either side (Davison and Hinkley 1997, section 4.2).
    """
    known = differences[np.isfinite(differences)]
    n = len(known)
    if not n:
        return float("nan")
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (n + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for looking at all of them (Holm 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values: npt.NDArray[np.float64] = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in adjusted]

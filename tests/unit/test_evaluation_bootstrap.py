"""Intervals: against theory, and that pairing is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from vlm4rec_spark.evaluation.bootstrap import holm, interval, resampled_means, two_sided_p

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Floats


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, (800, 1))
    drawn = resampled_means(values, np.ones_like(values), 4000, 1)
    found = interval(float(values.mean()), drawn[:, 0])
    error = values.std() / np.sqrt(800)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.01)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.01)


def test_scipy_finds_the_same_interval() -> None:
    values = np.random.default_rng(3).exponential(1.0, 300)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=8000, method="percentile", random_state=0
    ).confidence_interval
    drawn = resampled_means(values[:, None], np.ones((300, 1)), 8000, 0)[:, 0]
    ours = interval(float(values.mean()), drawn)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_constant_difference_has_no_width_because_draws_are_paired() -> None:
    base: Floats = np.random.default_rng(0).normal(0, 5, 200)
    both: Floats = np.stack([base, base + 0.1], axis=1)
    drawn = resampled_means(both, np.ones_like(both), 500, 0)
    apart = drawn[:, 1] - drawn[:, 0]
    assert apart == pytest.approx(np.full(500, 0.1))


def test_groups_of_users_give_the_interval_of_their_users() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(1.0, 1.0, 20_000)
    grouped: Floats = values.reshape(2000, 10) @ np.ones((10, 1))
    drawn = resampled_means(grouped, np.full((2000, 1), 10.0), 2000, 2)
    assert drawn.std() == pytest.approx(values.std() / np.sqrt(20_000), rel=0.1)


def test_the_same_seed_draws_the_same() -> None:
    values = np.arange(50, dtype=np.float64)[:, None]
    first, again = (resampled_means(values, np.ones_like(values), 700, 9) for _ in range(2))
    assert np.array_equal(first, again)


def test_a_segment_nobody_was_drawn_of_is_no_number_and_does_not_spoil_the_interval() -> None:
    sums, counts = np.array([[1.0], [0.0], [0.0]]), np.array([[1.0], [0.0], [0.0]])
    drawn = resampled_means(sums, counts, 300, 0)
    assert np.isnan(drawn).any()
    assert interval(1.0, drawn[:, 0]).low == 1.0


def test_p_is_small_for_a_clear_difference_and_never_zero() -> None:
    assert 0 < two_sided_p(np.full(1000, 0.5)) < 0.01
    assert two_sided_p(np.random.default_rng(0).normal(0, 1, 1000)) > 0.5


def test_holm_never_lowers_a_p_and_keeps_their_order() -> None:
    raw = [0.001, 0.2, 0.03, 0.04]
    adjusted = holm(raw)
    assert all(a >= p for a, p in zip(adjusted, raw, strict=True))
    assert np.argsort(adjusted, kind="stable").tolist() == np.argsort(raw).tolist()
    assert adjusted[0] == pytest.approx(0.004)

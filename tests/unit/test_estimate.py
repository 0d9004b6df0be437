from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlm4rec_spark.config_models import CostConfig
from vlm4rec_spark.descriptions.estimate import Sample, estimate, pictures_per_s, told

PRICES = CostConfig(input_per_million=2.0, output_per_million=10.0, gpu_hour=3.0)


def sample(n: int, seed: int = 0) -> Sample:
    """Return a sample of a server that answers 10 requests at a time."""
    rng = np.random.default_rng(seed)
    latency = rng.lognormal(0.0, 0.5, n)
    return Sample(
        rng.normal(500, 20, n), rng.normal(100, 30, n), latency, float(latency.sum() / 10), 1
    )


def test_a_sample_without_spread_is_scaled_up_exactly() -> None:
    even = Sample(
        np.full(50, 400.0), np.full(50, 100.0), np.full(50, 2.0), 10.0, servers=2, pictures=3
    )
    found = estimate(even, 1_000_000, PRICES)
    assert found.hours.value == pytest.approx(1_000_000 / 5 / 3600)
    assert found.gpu_hours.value == pytest.approx(2 * found.hours.value)
    assert found.million_tokens_in.value == pytest.approx(400)
    money = 400 * 2 + 100 * 10 + found.gpu_hours.value * 3
    for part in (found.cost.value, found.cost.low, found.cost.high):
        assert part == pytest.approx(money)
    assert pictures_per_s(even).value == pytest.approx(15)


def test_a_model_split_over_gpus_takes_them_all_for_the_price_of_its_server() -> None:
    one = sample(50)
    alone, split = (estimate(replace(one, gpus=n), 1000, PRICES) for n in (1, 4))
    assert split.gpu_hours.value == pytest.approx(4 * alone.gpu_hours.value)
    assert split.gpu_hours.high == pytest.approx(4 * alone.gpu_hours.high)
    assert (split.hours, split.cost) == (alone.hours, alone.cost)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    true_hours = 1000 * np.exp(0.125) / 10 / 3600
    hits = 0
    for seed in range(100):
        hours = estimate(sample(200, seed), 1000, PRICES, seed).hours
        hits += hours.low <= true_hours <= hours.high
    assert 85 <= hits <= 100


def test_a_larger_sample_says_more() -> None:
    small, large = (estimate(sample(n), 1000, PRICES).cost for n in (50, 5000))
    assert large.high - large.low < (small.high - small.low) / 4


def test_the_words_name_every_figure_with_its_interval() -> None:
    lines = told("Still pending", estimate(sample(50), 1000, PRICES))
    assert lines[0] == "Still pending: 1,000 requests"
    assert [line.split("  ")[1].strip() for line in lines[1:]] == [
        "hours", "GPU-hours", "million tokens in", "million tokens out", "cost",
    ]  # fmt: skip
    assert all(" to " in line for line in lines[1:])

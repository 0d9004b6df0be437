"""From a described sample to what the rest will take: time, tokens, GPU-hours, money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vlm4rec_spark.config_models import CostConfig

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)
"""Percentiles between which the truth lies in 95 of 100 samples."""

Row = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """What a sample of requests took; the three arrays have one number for each request.

    `seconds` is from the first request to the last answer, over all `servers` with `gpus` GPUs
    each; `pictures` is how many a request shows, on average.
    """

    tokens_in: Row
    tokens_out: Row
    latency_s: Row
    seconds: float
    servers: int = 1
    gpus: int = 1
    pictures: float = 1.0

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.tokens_in)


@dataclass(frozen=True)
class Range:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """What a number of requests takes."""

    requests: int
    hours: Range
    gpu_hours: Range
    million_tokens_in: Range
    million_tokens_out: Range
    cost: Range


def pictures_per_s(sample: Sample) -> Range:
    """Return the rate of the sample.

    The interval is that of the mean latency: at a fixed number in flight the rate is that number
    divided by it (Little's law).
    """
    rate = sample.pictures * len(sample) / sample.seconds
    means = _resampled(sample.latency_s)
    rates = rate * sample.latency_s.mean() / np.maximum(means, 1e-12)
    return _range(rate, rates)


def estimate(sample: Sample, requests: int, prices: CostConfig, seed: int = 0) -> Estimate:
    """Return what `requests` more of the kind take, by a bootstrap over the sample's requests.

    The interval tells what a sample of this size can say, not what a busier cluster or another
    kind of picture will do.
    """
    rng = np.random.default_rng(seed)
    n = len(sample)
    drawn = rng.integers(0, n, (RESAMPLES, n))

    def means(column: Row) -> tuple[float, Row]:
        return float(column.mean()), np.asarray(column[drawn].mean(axis=1), np.float64)

    tokens_in, all_in = means(sample.tokens_in)
    tokens_out, all_out = means(sample.tokens_out)
    latency, all_latency = means(sample.latency_s)
    hours = requests * sample.seconds / n / 3600
    all_hours = hours * all_latency / max(latency, 1e-12)
    gpus, millions = sample.servers * sample.gpus, requests / 1e6

    def money(t_in: float | Row, t_out: float | Row, hours: float | Row) -> float | Row:
        tokens = t_in * prices.input_per_million + t_out * prices.output_per_million
        return tokens * millions + hours * sample.servers * prices.gpu_hour

    return Estimate(
        requests,
        _range(hours, all_hours),
        _range(hours * gpus, all_hours * gpus),
        _range(millions * tokens_in, millions * all_in),
        _range(millions * tokens_out, millions * all_out),
        _range(
            float(money(tokens_in, tokens_out, hours)),
            np.asarray(money(all_in, all_out, all_hours), np.float64),
        ),
    )


def _resampled(column: Row, seed: int = 0) -> Row:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(column), (RESAMPLES, len(column)))
    return np.asarray(column[drawn].mean(axis=1), np.float64)


def _range(value: float, resampled: Row) -> Range:
    low, high = np.percentile(resampled, INTERVAL)
    return Range(float(value), float(min(low, value)), float(max(high, value)))


def told(name: str, found: Estimate) -> list[str]:
    """Return an estimate as lines."""
    rows = (
        ("hours", found.hours, 2),
        ("GPU-hours", found.gpu_hours, 2),
        ("million tokens in", found.million_tokens_in, 3),
        ("million tokens out", found.million_tokens_out, 3),
        ("cost", found.cost, 2),
    )
    lines = [f"{name}: {found.requests:,} requests"]
    return lines + [
        f"  {label:20} {r.value:>12,.{digits}f}   ({r.low:,.{digits}f} to {r.high:,.{digits}f})"
        for label, r, digits in rows
    ]

"""From sums per unit of users to the rows of `metrics`: means, intervals, differences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlm4rec_spark.errors import EvaluationError
from vlm4rec_spark.evaluation import beyond
from vlm4rec_spark.evaluation.bootstrap import holm, interval, resampled_means, two_sided_p
from vlm4rec_spark.evaluation.measure import ACCURACY
from vlm4rec_spark.evaluation.slices import EVERYONE

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Floats, Ints
    from vlm4rec_spark.evaluation.catalogue import Catalogue

OF_SLICES = ("NDCG", "Recall", "HitRate")
"""What is told of slices; everyone gets every metric."""


@dataclass(frozen=True)
class Result:
    """One row of `metrics`; NaN: not known."""

    arm: str
    pool: str
    variants: str
    slice: str
    segment: str
    metric: str
    value: float
    n_users: int
    low: float = math.nan
    high: float = math.nan
    baseline: str | None = None
    difference: float = math.nan
    difference_low: float = math.nan
    difference_high: float = math.nan
    p_holm: float = math.nan


def of_row(row: Mapping[str, Any]) -> Result:
    """Return a row of `metrics` as a result; a null number is not known."""
    known: dict[str, Any] = {field.name: row[field.name] for field in fields(Result)}
    numbers = [field.name for field in fields(Result) if field.type == "float"]
    known |= {name: math.nan for name in numbers if known[name] is None}
    return Result(**known)


@dataclass(frozen=True)
class Draws:
    """How intervals are made: arms in order, baseline, number of draws, seed."""

    arms: tuple[str, ...]
    baseline: str
    resamples: int
    seed: int
    k: int


@dataclass(frozen=True)
class _Column:
    """Sums of one metric of one arm in one segment, per unit; `group` numbers the segment."""

    result: Result
    sums: Floats
    group: int


def accuracy_results(sums: pa.Table, draws: Draws) -> list[Result]:
    """Return accuracy with intervals, of everyone and of each slice, view by view.

    Args:
        sums: what `plan.sums` returns.
        draws: see `Draws`.

    Raises:
        EvaluationError: two arms were measured over different users.
    """
    units = {unit: n for n, unit in enumerate(sorted(pc.unique(sums["unit"]).to_pylist()))}
    results: list[Result] = []
    views = sums.group_by(["pool", "variants"]).aggregate([]).sort_by(
        [("pool", "ascending"), ("variants", "descending")]
    )  # fmt: skip
    for view in views.to_pylist():
        here = pc.and_(
            pc.equal(sums["pool"], view["pool"]), pc.equal(sums["variants"], view["variants"])
        )
        results += _of_view(sums.filter(here), units, draws)
    return results


def _of_view(sums: pa.Table, units: Mapping[str, int], draws: Draws) -> list[Result]:
    columns: list[_Column] = []
    counts: list[Floats] = []
    keys = ["slice", "segment"]
    segments = sums.group_by(keys).aggregate([]).sort_by([(k, "ascending") for k in keys])
    for segment in segments.to_pylist():
        here = pc.and_(*(pc.equal(sums[key], segment[key]) for key in keys))
        found, count = _columns(sums.filter(here), units, draws, len(counts))
        columns += found
        counts.append(count)
    matrix = np.stack([column.sums for column in columns], axis=1)
    count_of = np.stack(counts, axis=1)
    group = np.array([column.group for column in columns])
    drawn = resampled_means(matrix, count_of[:, group], draws.resamples, draws.seed)
    return _with_intervals(columns, drawn, draws)


def _columns(
    rows: pa.Table, units: Mapping[str, int], draws: Draws, group: int
) -> tuple[list[_Column], Floats]:
    """Return the columns of one segment, and its users per unit, the same for every arm."""
    first = rows.slice(0, 1).to_pylist()[0]
    metrics = ACCURACY if first["slice"] == EVERYONE[0] else OF_SLICES
    columns: list[_Column] = []
    count: Floats | None = None
    for arm in draws.arms:
        own = rows.filter(pc.equal(rows["arm"], arm))
        place = np.array([units[u] for u in own["unit"].to_pylist()], np.int64)
        n = _scattered(place, own["n"].to_numpy().astype(np.float64), len(units))
        if count is not None and not np.array_equal(n, count):
            raise EvaluationError(
                f"Arm '{arm}' was measured over other users than '{draws.arms[0]}' "
                f"({int(n.sum())} and {int(count.sum())} in {first['slice']} {first['segment']}); "
                "no comparison is written."
            )
        count = n
        for metric in metrics:
            values = _scattered(place, own[metric].to_numpy(zero_copy_only=False), len(units))
            keys = {key: first[key] for key in ("pool", "variants", "slice", "segment")}
            n_users = int(n.sum())
            value, name = float(values.sum() / n_users), f"{metric}@{draws.k}"
            result = Result(arm=arm, metric=name, value=value, n_users=n_users, **keys)
            columns.append(_Column(result, values, group))
    return columns, count if count is not None else np.zeros(len(units))


def _scattered(place: Ints, values: npt.NDArray[Any], n: int) -> Floats:
    whole = np.zeros(n)
    whole[place] = values
    return whole


def _with_intervals(columns: Sequence[_Column], drawn: Floats, draws: Draws) -> list[Result]:
    where = {_identity(c.result): n for n, c in enumerate(columns)}
    results, p_values = [], {}
    for n, column in enumerate(columns):
        result = column.result
        around = interval(result.value, drawn[:, n])
        result = replace(result, low=around.low, high=around.high)
        base = where[_identity(replace(result, arm=draws.baseline))]
        if base != n:
            apart = drawn[:, n] - drawn[:, base]
            difference = result.value - columns[base].result.value
            around = interval(difference, apart)
            result = replace(result, baseline=draws.baseline, difference=difference,
                             difference_low=around.low, difference_high=around.high)  # fmt: skip
            p_values[n] = two_sided_p(apart)
        results.append(result)
    return _adjusted(results, p_values)


def _identity(result: Result) -> tuple[str, ...]:
    return (result.arm, result.slice, result.segment, result.metric)


def _adjusted(results: list[Result], p_values: Mapping[int, float]) -> list[Result]:
    """Adjust p over the arms, metric by metric and segment by segment."""
    families: dict[tuple[str, ...], list[int]] = {}
    for n in p_values:
        families.setdefault(_identity(results[n])[1:], []).append(n)
    for members in families.values():
        adjusted = holm([p_values[n] for n in members])
        for n, p in zip(members, adjusted, strict=True):
            results[n] = replace(results[n], p_holm=p)
    return results


def other_results(
    means: pa.Table, exposure: pa.Table, catalogue: Catalogue, k: int
) -> Iterator[Result]:
    """Yield what lists are like: means over users, and coverage, Gini and hubs per arm.

    Args:
        means: what `plan.means` returns.
        exposure: what `plan.exposure` returns.
        catalogue: the items.
        k: length of the lists.
    """
    for row in means.to_pylist():
        keys = {key: row[key] for key in ("arm", "pool", "variants")}
        for name, value in row.items():
            if name not in (*keys, "n") and value is not None:
                yield _whole(keys, f"{name}@{k}", value, row["n"])
        here = [pc.equal(exposure[key], keys[key]) for key in keys]
        own = exposure.filter(pc.and_(pc.and_(here[0], here[1]), here[2]))
        listed = np.zeros(len(catalogue.items), np.int64)
        listed[catalogue.rows_of(own["item_id"])] = own["count"].to_numpy()
        pool = catalogue.pool(keys["pool"])
        figures = {
            "Coverage": beyond.coverage(listed[pool], len(pool)),
            "Gini": beyond.gini(listed[pool]),
            "Hub skewness": beyond.hub_skewness(listed[pool]),
        }
        for name, value in figures.items():
            yield _whole(keys, f"{name}@{k}", value, row["n"])


def _whole(keys: Mapping[str, Any], metric: str, value: float, n: int) -> Result:
    return Result(slice=EVERYONE[0], segment=EVERYONE[1], metric=metric, value=value,
                  n_users=n, **keys)  # fmt: skip

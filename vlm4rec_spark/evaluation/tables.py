"""The tables of the report, as plain rows; `page` turns them into Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm4rec_spark.evaluation.measure import ACCURACY

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.fates import Step
    from vlm4rec_spark.evaluation.results import Result

POOL_WORDS = {"all": "whole catalogue", "cold": "new items alone"}
SLICE_WORDS = {
    "temperature": "test items with and without training events",
    "history": "items a user had before the cut",
    "popularity": "popularity of the test item",
    "age": "days since the shop first had the item",
    "category": "category of the test item",
    "price": "price within the category",
}
SURE = 0.05


@dataclass(frozen=True)
class Bar:
    """A cell that is drawn: a value on a scale from `least` to `most`, with its interval."""

    value: float
    low: float
    high: float
    least: float
    most: float
    is_baseline: bool


@dataclass(frozen=True)
class Table:
    """A table with its title; cells are text, or bars that Markdown leaves out."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Bar]]
    note: str = ""


def found(results: Sequence[Result], **keys: str) -> Result | None:
    """Return the result of everyone with variants kept that has these keys, or None."""
    wanted = {"slice": "everyone", "variants": "kept", **keys}
    return next((r for r in results if all(getattr(r, k) == v for k, v in wanted.items())), None)


def arms(results: Sequence[Result], k: int) -> Iterator[Table]:
    """Yield the main table of each pool: every arm, best first."""
    metric = f"NDCG@{k}"
    for pool, words in POOL_WORDS.items():
        rows = [r for r in results if (r.metric, r.pool) == (metric, pool)]
        whole = [r for r in rows if r.slice == "everyone"]
        kept = sorted((r for r in whole if r.variants == "kept"), key=lambda r: -r.value)
        if not kept:
            continue
        other = {r.arm: r for r in whole if r.variants == "collapsed"}
        most = max(r.high for r in kept)
        base = next((r.baseline for r in kept if r.baseline), None)
        yield Table(
            f"Arms, {words} ({kept[0].n_users:,} users)",
            ("arm", metric, "", f"against {base}", "p (Holm)", "variants collapsed"),
            [_arm_row(r, other.get(r.arm), most, base) for r in kept],
            note="Values with 95 % intervals over users; * differs after Holm. Collapsed: variants "
            "of what a user has, and items with the same picture, are neither candidates nor test. "
            "Controls are drawn three times: chance is where they spread, not where one stands.",
        )


def _arm_row(
    row: Result, collapsed: Result | None, most: float, base: str | None
) -> Sequence[str | Bar]:
    mark = " *" if row.p_holm < SURE else ""
    apart = "baseline" if row.baseline is None else (
        f"{row.difference:+.4f} [{row.difference_low:+.4f}, {row.difference_high:+.4f}]{mark}"
    )  # fmt: skip
    return (
        row.arm,
        interval_text(row),
        Bar(row.value, row.low, row.high, 0.0, most or 1.0, row.arm == base),
        apart,
        "" if row.baseline is None else f"{row.p_holm:.4f}",
        interval_text(collapsed) if collapsed else "",
    )


def interval_text(row: Result) -> str:
    """Return '0.1234 [0.1200, 0.1300]'."""
    return f"{row.value:.4f} [{row.low:.4f}, {row.high:.4f}]"


def accuracy(results: Sequence[Result], k: int) -> Table:
    """Return every accuracy metric of every arm over the whole catalogue."""
    names = [f"{m}@{k}" for m in ACCURACY]
    return _wide("All accuracy metrics, whole catalogue", results, names)


def beyond(results: Sequence[Result], k: int) -> Table:
    """Return what lists are like apart from accuracy."""
    names = list(
        dict.fromkeys(r.metric for r in results if r.metric.removesuffix(f"@{k}") not in ACCURACY)
    )
    note = (
        "Novelty in bits; ARP: mean training users of the listed items; APLT: share of the long "
        "tail; Gini: 0 is even exposure; hub skewness: large where few items fill most lists; "
        "diversity: mean 1 - cosine in a space the arm does not rank with; empty: no such value."
    )
    return _wide("Beyond accuracy, whole catalogue", results, names, note)


def _wide(title: str, results: Sequence[Result], metrics: Sequence[str], note: str = "") -> Table:
    names = list(dict.fromkeys(r.arm for r in results))
    rows = []
    for arm in names:
        cells = [found(results, arm=arm, pool="all", metric=metric) for metric in metrics]
        rows.append((arm, *(f"{cell.value:.4f}" if cell else "" for cell in cells)))
    return Table(title, ("arm", *metrics), rows, note)


def slices(results: Sequence[Result], k: int) -> Iterator[Table]:
    """Yield NDCG of every arm in every segment of each slice, over the whole catalogue."""
    metric = f"NDCG@{k}"
    rows = [r for r in results if (r.metric, r.pool, r.variants) == (metric, "all", "kept")]
    for name, words in SLICE_WORDS.items():
        own = {(r.arm, r.segment): r for r in rows if r.slice == name}
        segments = sorted({segment for _, segment in own}, key=_order)
        arms_ = list(dict.fromkeys(arm for arm, _ in own))
        if segments:
            sizes = [own[arms_[0], segment].n_users for segment in segments]
            yield Table(
                f"{metric} by {words}",
                ("arm", *(f"{s} ({n:,})" for s, n in zip(segments, sizes, strict=True))),
                [(arm, *(interval_text(own[arm, s]) for s in segments)) for arm in arms_],
                note="In brackets: users with such a test item. Lists are the same as above.",
            )


def _order(segment: str) -> tuple[int, str]:
    """Put numbers in their order, thirds from low to high, and what is left over last."""
    digits = "".join(c if c.isdigit() else " " for c in segment).split()
    if digits:
        return int(digits[0]), segment
    first = {"low third": 0, "middle third": 1, "high third": 2, "other": 999, "older": 999}
    return first.get(segment, 500), segment


def split(steps: Sequence[Step]) -> Table:
    """Return what became of every row of the log."""
    rows = [
        (step.meaning, f"{step.rows:,}", f"{step.users:,}", f"{step.items:,}") for step in steps
    ]
    total = sum(step.rows for step in steps)
    return Table(
        "What became of the log", ("rows that are", "rows", "users", "items"), rows,
        note=f"{total:,} rows in all, none dropped silently.",
    )  # fmt: skip

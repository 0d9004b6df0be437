"""What rules, settings and events say about each item, written beside the item matrix."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.descriptions.plan import sure_attributes
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.tables import DESCRIPTIONS, ITEMS
from vlm4rec_spark.topk.rerank import VARIANTS, Rerank
from vlm4rec_spark.topk.rule_checks import parsed
from vlm4rec_spark.topk.snapshot import Beside, Snapshot, load_snapshot
from vlm4rec_spark.topk.snapshot_files import write_array

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from vlm4rec_spark.config import Config
    from vlm4rec_spark.config_lists import TopkConfig
    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.topk.rules import Rule

logger = logging.getLogger(__name__)
DIGITS = 9
"""Popularity is rounded, so that sums in another order give the same file."""
MOST_SEGMENTS = 256
"""Segments with an own line in the arrays; further ones, if no rule is about them, are treated like
no segment."""


def rerank_of(config: Config) -> Rerank:
    """Return the settings that travel to the workers."""
    asked = config.topk.rerank
    caps = dict(asked.caps) | ({VARIANTS: 1} if asked.one_per_variant else {})
    shares = [p.share for p in asked.promote]
    shares += [asked.new_items.share] if asked.new_items else []
    return Rerank(
        caps=tuple(sorted(caps.items())),
        near_equal=asked.near_equal,
        relevance=asked.mmr,
        pins=tuple(sorted(asked.pins.items())),
        shares=tuple(shares),
        business_weight=asked.business.weight if asked.business else 0.0,
    )


def take_segments(history: DataFrame, ruled: Collection[str] = ()) -> tuple[str, ...]:
    """Return the segments with most users, sorted by name.

    Args:
        history: user_id, segment.
        ruled: segments with rules; those that have users are among them, however few these are.
    """
    named = history.where("segment IS NOT NULL").groupBy("segment")
    users = named.agg(F.count_distinct("user_id").alias("n"))
    order = (F.desc(F.col("segment").isin(list(ruled))), F.desc("n"), "segment")
    most = max(MOST_SEGMENTS, len(ruled))
    return tuple(sorted(row["segment"] for row in users.orderBy(*order).limit(most).collect()))


def take_beside(
    context: RunContext, folder: str, history: DataFrame, segments: tuple[str, ...]
) -> Beside:
    """Write the arrays of this run beside the matrix; equal ones are there already.

    Args:
        context: the run.
        folder: of the item matrix.
        history: user_id, item_id, weight, segment.
        segments: those with a line of their own.

    Raises:
        ConfigError: a rule is wrong.
        SourceError: a rule cannot be evaluated on the items.
    """
    topk, snapshot = context.config.topk, load_snapshot(folder)
    rules = parsed(context.config, topk.rules, "topk.rules")
    per_segment = parsed(context.config, topk.user_rules.values(), "topk.user_rules")
    promoted = [p.rule for p in topk.rerank.promote]
    promotions = parsed(context.config, promoted, "topk.rerank.promote")
    columns = {f"rule{n}": _holds(rule) for n, rule in enumerate(rules)}
    columns |= {f"user{n}": _holds(rule) for n, rule in enumerate(per_segment)}
    columns |= {f"promoted{n}": _holds(rule) for n, rule in enumerate(promotions)}
    if topk.rerank.new_items:
        columns["promoted_new"] = _is_new(context.config, topk.rerank.new_items.days)
    if topk.rerank.business:
        columns["business"] = _number(topk.rerank.business.column)
    facts = _facts(context, snapshot, columns) if columns else {}
    _named(snapshot, tuple(topk.rerank.pins), "topk.rerank.pins")  # warns of unknown ones
    names = [c for c in columns if c.startswith("promoted")]
    allowed = allowed_items(snapshot, facts, context.config, segments)
    root = Path(folder)
    return Beside(
        popularity=write_array(root, "popularity", _popularity(snapshot, history, segments)),
        allowed=write_array(root, "allowed", allowed),
        promoted=write_array(root, "promoted", np.array([facts[c] for c in names], bool))
        if names
        else None,
        business=write_array(root, "business", scaled(facts["business"]))
        if "business" in facts
        else None,
    )


def allowed_items(
    snapshot: Snapshot,
    facts: dict[str, npt.NDArray[np.float64]],
    config: Config,
    segments: tuple[str, ...],
) -> npt.NDArray[np.bool_]:
    """Return (groups, n) which items may be listed: for everybody, then for each segment."""
    topk = config.topk
    held = [holds for name, holds in facts.items() if name.startswith("rule")]
    anybody = _open_to_all(snapshot, held, topk)
    if not topk.user_rules:
        return anybody[None, :]
    numbers = {segment: n for n, segment in enumerate(topk.user_rules)}
    lines = [
        anybody & (facts[f"user{numbers[segment]}"] > 0) if segment in numbers else anybody
        for segment in segments
    ]
    return np.array([anybody, *lines], bool)


def _open_to_all(
    snapshot: Snapshot, held: Iterable[npt.NDArray[np.float64]], topk: TopkConfig
) -> npt.NDArray[np.bool_]:
    """Return (n,) which items may be listed where rules hold, (n,) each, and by name."""
    anybody: npt.NDArray[np.bool_] = snapshot.allowed[0].copy()
    for holds in held:
        anybody &= holds > 0
    if topk.allow is not None:
        listed = np.zeros(len(snapshot), bool)
        listed[_named(snapshot, topk.allow, "topk.allow")] = True
        anybody &= listed
    anybody[_named(snapshot, topk.deny, "topk.deny")] = False
    return anybody


def _named(snapshot: Snapshot, names: Collection[str], where: str) -> npt.NDArray[np.int64]:
    """Return the rows of some items, and warn of those that have none."""
    ids = pa.array(names, pa.string())
    rows = snapshot.find(ids)
    unknown = ids.filter(pa.array(rows < 0))
    if len(unknown):
        told = ", ".join(unknown[:3].to_pylist())
        logger.warning("%s: %d of %d items have no vector: %s", where, len(unknown), len(ids), told)
    known: npt.NDArray[np.int64] = rows[rows >= 0]
    return known


def scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scale numbers to 0..1; what is not finite becomes 0.

    >>> scaled(np.array([5.0, np.nan, 15.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    known = np.isfinite(values)
    if not known.any():
        return np.zeros_like(values)
    low, high = values[known].min(), values[known].max()
    return np.where(known, (np.where(known, values, low) - low) / max(high - low, 1e-12), 0.0)


def searched_items(
    context: RunContext, snapshot: Snapshot, rules: Iterable[Rule]
) -> npt.NDArray[np.bool_]:
    """Return (1, n) which items may be found: those that may be listed and meet the rules.

    Raises:
        SourceError: a rule cannot be evaluated on the items.
    """
    columns = {f"rule{n}": _holds(rule) for n, rule in enumerate(rules)}
    facts = _facts(context, snapshot, columns) if columns else {}
    return _open_to_all(snapshot, facts.values(), context.config.topk)[None, :]


def _holds(rule: Rule) -> Column:
    return F.coalesce(F.expr(rule.sql), F.lit(False)).cast("double")


def _is_new(config: Config, days: float) -> Column:
    now = config.profiles.now
    moment = F.current_timestamp() if now is None else F.lit(now)
    age = F.unix_micros(moment) - F.unix_micros("first_seen")
    return F.coalesce(age <= days * 86_400e6, F.lit(False)).cast("double")


def _number(column: str) -> Column:
    if column == "price":
        return F.col("price")
    return F.col("source")[column.removeprefix("source.")].try_cast("double")


def rule_frame(context: RunContext) -> DataFrame:
    """Return the items with the columns that rules may name; only attributes that are sure."""
    items = delta.read(context.spark, ITEMS, context.names)
    sure = sure_attributes("attributes", context.config.describe.min_confidence)
    described = delta.read(context.spark, DESCRIPTIONS, context.names).select(
        "request_key", sure.alias("described")
    )
    return (
        items.withColumnRenamed("attributes", "source")
        .join(described, "request_key", "left")
        .withColumnRenamed("described", "attributes")
    )


def _facts(
    context: RunContext, snapshot: Snapshot, columns: dict[str, Column]
) -> dict[str, npt.NDArray[np.float64]]:
    """Evaluate columns on the items; (n,) float64 each, NaN where null."""
    frame = rule_frame(context)
    try:
        table = frame.select("item_id", *(c.alias(n) for n, c in columns.items())).toArrow()
    except Exception as error:
        # Types that do not fit show when Spark analyses or runs the rule; differs on Connect.
        reason = str(error).strip().partition("\n")[0][:300]
        raise SourceError(f"The rules cannot be evaluated on the items: {reason}") from error
    rows = snapshot.find(table["item_id"].combine_chunks())
    found = {}
    for name in columns:
        values = np.full(len(snapshot), np.nan)
        ours = table[name].combine_chunks().to_numpy(zero_copy_only=False).astype(np.float64)
        values[rows[rows >= 0]] = ours[rows >= 0]
        found[name] = values
    return found


def _popularity(
    snapshot: Snapshot, history: DataFrame, segments: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    """Return (segments + 1, n): the sum of weights of each item, with everybody and by segment."""
    counted = history.where("weight > 0 AND item_id IS NOT NULL")
    found = np.zeros((len(segments) + 1, len(snapshot)))
    total = counted.groupBy("segment", "item_id").agg(F.sum("weight").alias("weight")).toArrow()
    rows = snapshot.find(total["item_id"].combine_chunks())
    numbers = {name: line for line, name in enumerate(segments, start=1)}
    lines = np.array([numbers.get(name, 0) for name in total["segment"].to_pylist()], np.int64)
    weights = total["weight"].to_numpy()
    known = rows >= 0
    np.add.at(found[0], rows[known], weights[known])
    own = known & (lines > 0)
    np.add.at(found, (lines[own], rows[own]), weights[own])
    popularity: npt.NDArray[np.float64] = found.round(DIGITS)
    return popularity

"""Frames in, frames out: what becomes of every row of the log. No row is dropped silently.

Each row gets a *fate*: 'train', 'test', or why it is neither. The counts of the fates add up to
the rows of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.evaluation.fates import FATES, Step

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

RECENT_DAYS = 28
"""How far back recent popularity looks."""


@dataclass(frozen=True)
class SplitRule:
    """How the log is split."""

    kind: str
    cut: datetime | None
    """Global cut; None for last_n."""
    n: int
    relevant_events: tuple[str, ...] | None
    mask_events: tuple[str, ...] | None


def global_cut(judged: DataFrame, test_share: float) -> datetime | None:
    """Return the midnight (UTC) after which at most about `test_share` of the usable events lie.

    Exact and the same in every run: events are counted by day. None where there are no events.
    """
    day = F.expr("unix_micros(timestamp) div 86400000000").alias("day")
    rows = judged.where("problem IS NULL").groupBy(day).count().orderBy("day").collect()
    total, before = sum(row["count"] for row in rows), 0
    for row in rows:
        before += row["count"]
        if before >= (1 - test_share) * total:
            start = datetime(1970, 1, 1, tzinfo=timezone.utc)
            return start + timedelta(days=int(row["day"]) + 1)
    return None


def with_fates(judged: DataFrame, rule: SplitRule) -> DataFrame:
    """Add `fate` to every row of `profiles.plan.events`."""
    usable = F.col("problem").isNull()
    is_train = usable & (F.col("timestamp") < _cut(usable, rule))
    by_user, by_pair = Window.partitionBy("user_id"), Window.partitionBy("user_id", "item_id")
    masks = F.lit(True) if rule.mask_events is None else _is_one_of(rule.mask_events)
    marked = judged.withColumn("is_train", F.coalesce(is_train, F.lit(False))).withColumns(
        {
            "has_history": F.max(F.col("is_train") & (F.col("weight") > 0)).over(by_user),
            "is_seen": F.max(F.col("is_train") & masks).over(by_pair),
        }
    )
    if rule.kind == "cold_item":
        warm = marked.where("is_train").select("item_id", F.lit(True).alias("is_warm")).distinct()
        marked = marked.join(warm, "item_id", "left")
    else:
        marked = marked.withColumn("is_warm", F.lit(None).cast("boolean"))
    fate = (
        F.when(~usable, F.col("problem"))
        .when(F.col("is_train"), "train")
        .when(~_relevant(rule), "not_relevant")
        .when(~F.col("has_history"), "no_history")
        .when(F.col("is_seen"), "seen_before")
        .when(F.col("is_warm"), "warm_item")
        .otherwise("test")
    )
    first = Window.partitionBy("user_id", "item_id", "fate").orderBy("timestamp", "event_type")
    again = (F.col("fate") == "test") & (F.row_number().over(first) > 1)
    return (
        marked.withColumn("fate", fate)
        .withColumn("fate", F.when(again, "repeated").otherwise(F.col("fate")))
        .drop("is_train", "has_history", "is_seen", "is_warm")
    )


def _cut(usable: Column, rule: SplitRule) -> Column:
    """Return the moment from which on a user's events are no training."""
    if rule.kind != "last_n":
        return F.lit(rule.cut)
    newest = Window.partitionBy("user_id").orderBy(
        (usable & _relevant(rule)).desc(), F.desc("timestamp"), "item_id"
    )
    nth = F.when((F.row_number().over(newest) == rule.n) & _relevant(rule), F.col("timestamp"))
    # A user with fewer relevant events has no test: everything is training.
    never = F.lit(datetime(9999, 1, 1, tzinfo=timezone.utc))
    return F.coalesce(F.max(nth).over(Window.partitionBy("user_id")), never)


def _relevant(rule: SplitRule) -> Column:
    """Return whether a list should have foreseen the event; events without weight never count."""
    if rule.relevant_events is None:
        return F.col("weight") > 0
    return _is_one_of(rule.relevant_events)


def _is_one_of(events: tuple[str, ...]) -> Column:
    return F.coalesce(F.col("event_type").isin(list(events)), F.lit(False))


def steps(fated: DataFrame) -> list[Step]:
    """Count every fate that occurs, in the order of `FATES`."""
    rows = fated.groupBy("fate").agg(
        F.count("*").alias("rows"),
        F.countDistinct("user_id").alias("users"),
        F.countDistinct("item_id").alias("items"),
    )
    found = {row["fate"]: row for row in rows.collect()}
    return [
        Step(fate, int(found[fate]["rows"]), int(found[fate]["users"]), int(found[fate]["items"]))
        for fate in FATES
        if fate in found
    ]


def item_facts(fated: DataFrame, items: DataFrame) -> DataFrame:
    """Return item_id, users, recent_users, first_event, category, price, variant_group, ... .

    Recent means in the last four weeks before the newest training event.
    """
    train = fated.where("fate = 'train'")
    newest = train.agg(F.max("timestamp").alias("newest"))
    recent = F.col("timestamp") >= F.col("newest") - F.expr(f"INTERVAL {RECENT_DAYS} DAYS")
    counted = (
        train.crossJoin(F.broadcast(newest))
        .groupBy("item_id")
        .agg(
            F.countDistinct("user_id").alias("users"),
            F.countDistinct(F.when(recent, F.col("user_id"))).alias("recent_users"),
        )
    )
    return items.join(counted, "item_id", "left").select(
        "item_id",
        F.coalesce("users", F.lit(0)).alias("users"),
        F.coalesce("recent_users", F.lit(0)).alias("recent_users"),
        "category",
        "price",
        "variant_group",
        "request_key",
    )


def truth(fated: DataFrame, items: DataFrame, groups: DataFrame, *, dated: bool) -> DataFrame:
    """Return the test: user_id, item_id, age_days, n_history, is_variant.

    Args:
        fated: rows with their fate.
        items: the `items` table.
        groups: item_id, group_no.
        dated: whether `items.first_seen` comes from the shop; else an item's age counts from its
            first event.
    """
    test = fated.where("fate = 'test'").select("user_id", "item_id", "timestamp")
    train = fated.where("fate = 'train'")
    sizes = (
        train.where("weight > 0").groupBy("user_id")
        .agg(F.countDistinct("item_id").alias("n_history"))
    )  # fmt: skip
    born = (
        items.select("item_id", F.col("first_seen").alias("born"))
        if dated
        else fated.where("fate <> 'null_ids'").groupBy("item_id")
        .agg(F.min("timestamp").alias("born"))
    )  # fmt: skip
    owned = (
        train.select("user_id", "item_id").join(groups, "item_id")
        .select("user_id", "group_no", F.lit(True).alias("owned")).distinct()
    )  # fmt: skip
    age = (F.unix_micros("timestamp") - F.unix_micros("born")) / (86_400 * 1e6)
    return (
        test.join(born, "item_id", "left")
        .join(groups, "item_id", "left")
        .join(sizes, "user_id", "left")
        .join(owned, ["user_id", "group_no"], "left")
        .select(
            "user_id",
            "item_id",
            F.floor(age).cast("int").alias("age_days"),
            F.coalesce("n_history", F.lit(0)).cast("long").alias("n_history"),
            F.coalesce("owned", F.lit(False)).alias("is_variant"),
        )
    )

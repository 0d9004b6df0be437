"""Frames in, frames out: from the interaction log to what each user did with each item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.profiles.vectors import histories, user_profiles
from vlm4rec_spark.tables import PROFILES
from vlm4rec_spark.topk.snapshot import load_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import Column, DataFrame

    from vlm4rec_spark.config_models import ProfilesConfig

SECONDS_A_DAY = 86_400
MOST_HALVINGS = 900
"""Beyond this every event is equally old: a weight of 0 would mean that it does not count."""
HISTORY = (
    "user_id STRING, item_id STRING, weight DOUBLE, seen BOOLEAN, last_event_at TIMESTAMP, "
    "n_events INT, segment STRING, text STRING, fingerprint BIGINT"
)
"""Rows of `history` with what is known of the users, and fingerprints."""
ABOUT_USERS = ("segment", "text")
PROBLEMS = (
    "null_ids", "unreadable_timestamps", "future_timestamps", "unknown_items", "duplicates",
)  # fmt: skip
"""Why a row of the log is left out; the first that holds is told."""
USERS_A_BLOCK = 1000
USERS_A_SEARCH = 8192
"""Users searched for together: enough for large matrix products, few enough for some 100 MB."""


def events(interactions: DataFrame, items: DataFrame, config: ProfilesConfig) -> DataFrame:
    """Add to each row what is wrong with it, and its weight.

    Args:
        interactions: user_id, item_id, timestamp and, where mapped, rating and event_type.
        items: the `items` table.
        config: weights, limits and moments.

    Returns:
        user_id, item_id, timestamp, event_type, weight (0: does not count), is_rated (false: its
        rating is missing or no number, and counts as 1.0), problem: null, or one of PROBLEMS.
    """
    full = _with_optional_columns(interactions)
    now = F.current_timestamp() if config.now is None else F.lit(config.now)
    known = items.select("item_id", F.lit(True).alias("is_known"))
    same = Window.partitionBy("user_id", "item_id", "timestamp", "event_type").orderBy(
        F.desc("rating")
    )
    problem = (
        F.when(F.expr("user_id IS NULL OR item_id IS NULL"), "null_ids")
        .when(F.col("timestamp").isNull(), "unreadable_timestamps")
        .when(F.col("timestamp") > now, "future_timestamps")
        .when(F.col("is_known").isNull(), "unknown_items")
        .when(F.row_number().over(same) > 1, "duplicates")
    )
    return full.join(known, "item_id", "left").select(
        "user_id",
        "item_id",
        "timestamp",
        "event_type",
        _weight(config).alias("weight"),
        "is_rated",
        problem.alias("problem"),
    )


def _with_optional_columns(interactions: DataFrame) -> DataFrame:
    """Give every row a rating (1.0 where there is none) and an event type (null: none)."""
    names = interactions.columns
    is_rated = F.col("rating").isNotNull() if "rating" in names else F.lit(True)
    rating = F.coalesce("rating", F.lit(1.0)) if "rating" in names else F.lit(1.0)
    kind = F.col("event_type") if "event_type" in names else F.lit(None).cast("string")
    return interactions.select(
        "user_id",
        "item_id",
        "timestamp",
        rating.alias("rating"),
        is_rated.alias("is_rated"),
        kind.alias("event_type"),
    )


def _weight(config: ProfilesConfig) -> Column:
    """Return the weight before decay: 0 under the minimum rating or of no known type."""
    weight = F.when(F.col("event_type").isNull(), F.lit(1.0))
    for kind, value in sorted(config.events.items()):
        weight = weight.when(F.col("event_type") == kind, F.lit(float(value)))
    weight = weight.otherwise(F.lit(0.0))
    if config.min_rating is None:
        return weight
    return F.when(F.col("rating") >= config.min_rating, weight).otherwise(F.lit(0.0))


def count_problems(judged: DataFrame, config: ProfilesConfig) -> dict[str, int]:
    """Return the number of rows by problem, of usable `events`, and of what some of them lack."""
    row = judged.agg(
        F.count("*").alias("rows"),
        *(F.count_if(F.col("problem") == name).alias(name) for name in PROBLEMS),
        F.count_if(F.expr("problem IS NULL")).alias("events"),
        F.count_if(F.expr("problem IS NULL AND weight = 0")).alias("events_without_weight"),
        F.count_if(_is_of_unknown_type(config)).alias("events_of_unknown_type"),
        F.count_if(F.expr("problem IS NULL AND NOT is_rated")).alias("events_without_rating"),
    ).first()
    return {name: int(value) for name, value in row.asDict().items()} if row else {}


def unknown_types(judged: DataFrame, config: ProfilesConfig) -> list[str]:
    """Return the event types that nobody gave a weight, the most frequent first, five at most."""
    counted = judged.where(_is_of_unknown_type(config)).groupBy("event_type").count()
    rows = counted.orderBy(F.desc("count"), "event_type").limit(5).collect()
    return [row["event_type"] for row in rows]


def _is_of_unknown_type(config: ProfilesConfig) -> Column:
    kind = F.col("event_type")
    known = kind.isin(sorted(config.events)) if config.events else F.lit(False)
    return F.col("problem").isNull() & kind.isNotNull() & ~known


def count_without_vector(judged: DataFrame, vectors: DataFrame) -> int:
    """Return the number of usable events whose item has no vector: no profile can hold them."""
    per_item = judged.where("problem IS NULL").groupBy("item_id").count()
    row = per_item.join(vectors, "item_id", "left_anti").agg(F.sum("count")).first()
    return int(row[0] or 0) if row else 0


def history(
    judged: DataFrame, config: ProfilesConfig, mask_events: tuple[str, ...] | None
) -> DataFrame:
    """Return one row per user and item: weight, seen, last_event_at, n_events.

    The weight is the sum of event weights, each halved every `half_life_days`; only the
    `max_history` newest items keep theirs. Users who are named in rows with a problem only are
    kept with a null item, so that they get a list, too.

    Half-lives are counted since 1970, and weights measured at the end of the one that the newest
    event is in. A later end halves all weights a whole number of times, which changes no bit of
    their proportions: without events of their own users keep their profile, whoever else shops.
    """
    usable = judged.where("problem IS NULL")
    half_lives = half_lives_since_1970(config)
    whole = F.floor(half_lives)
    halvings = F.least(F.col("end") - whole, F.lit(MOST_HALVINGS)).cast("double")
    # The first factor knows nothing of the newest event, the second is exact.
    fresh = F.col("weight") * F.pow(F.lit(2.0), half_lives - whole)
    decayed = fresh * F.pow(F.lit(2.0), -halvings)
    masks = F.lit(True) if mask_events is None else F.col("event_type").isin(list(mask_events))
    # Summed in a fixed order: the last bits must not depend on the partitions.
    in_order = F.sort_array(F.collect_list(decayed))
    total = F.aggregate(in_order, F.lit(0.0), lambda left, right: left + right)
    per_item = (
        usable.crossJoin(F.broadcast(last_half_life(judged, config)))
        .groupBy("user_id", "item_id")
        .agg(
            total.alias("weight"),
            F.bool_or(F.coalesce(masks, F.lit(False))).alias("seen"),
            F.max("timestamp").alias("last_event_at"),
            F.count_if(F.col("weight") != 0).cast("int").alias("n_events"),
        )
    )
    by_age = Window.partitionBy("user_id").orderBy(
        (F.col("weight") != 0).desc(), F.desc("last_event_at"), "item_id"
    )
    kept = F.row_number().over(by_age) <= config.max_history
    rows = per_item.withColumn("weight", F.when(kept, F.col("weight")).otherwise(F.lit(0.0)))
    return rows.unionByName(_users_without_rows(judged, usable), allowMissingColumns=True)


def half_lives_since_1970(config: ProfilesConfig) -> Column:
    """Return the moment of an event in half-lives since 1970."""
    return F.unix_micros("timestamp") / F.lit(config.half_life_days * 1e6 * SECONDS_A_DAY)


def last_half_life(judged: DataFrame, config: ProfilesConfig) -> DataFrame:
    """Return one row, `end`: the end of the half-life that the newest usable event is in."""
    end = F.floor(F.max(half_lives_since_1970(config))) + 1
    return judged.where("problem IS NULL").agg(end.alias("end"))


def _users_without_rows(judged: DataFrame, usable: DataFrame) -> DataFrame:
    named = judged.where("user_id IS NOT NULL").select("user_id").distinct()
    return named.join(usable.select("user_id"), "user_id", "left_anti").select(
        "user_id",
        F.lit(None).cast("string").alias("item_id"),
        F.lit(0.0).alias("weight"),
        F.lit(False).alias("seen"),
    )


def with_users(rows: DataFrame, users: DataFrame | None) -> DataFrame:
    """Add `segment` and `text` to rows of `history`, and a row for each user who has none.

    Args:
        rows: rows of `history`.
        users: user_id and, where mapped, segment and text; of a user who stands there twice the
            first segment and the first text by name count. None: nothing is known of anybody.
    """
    nothing = {name: F.lit(None).cast("string") for name in ABOUT_USERS}
    if users is None:
        return rows.withColumns(nothing)
    told = users.withColumns({n: c for n, c in nothing.items() if n not in users.columns})
    known = (
        told.where("user_id IS NOT NULL")
        .groupBy("user_id")
        .agg(*(F.min(name).alias(name) for name in ABOUT_USERS))
    )
    full = rows.join(known, "user_id", "full_outer")
    return full.withColumns(
        {
            "weight": F.coalesce("weight", F.lit(0.0)),
            "seen": F.coalesce("seen", F.lit(False)),
        }
    )


def with_fingerprints(rows: DataFrame) -> DataFrame:
    """Add `fingerprint` to rows of `history`: equal in two runs for a user with the same profile.

    It covers the proportions of the weights and what is stored beside a profile.
    """
    user = Window.partitionBy("user_id")
    largest = F.max(F.abs("weight")).over(user)
    part = F.when(largest > 0, F.col("weight") / largest).otherwise(F.lit(0.0))
    row = F.xxhash64("item_id", part, "seen", "last_event_at", "n_events", *ABOUT_USERS)
    mixed = F.bit_xor("row").over(user)
    # A second, other mixture; the halves of a hash do not overflow when summed up.
    total = F.sum(F.col("row").bitwiseAND(F.lit(0xFFFFFFFF))).over(user)
    both = F.xxhash64(mixed, total)
    told = rows.withColumn("row", row).withColumn("fingerprint", both)
    return told.selectExpr(*(part.split()[0] for part in HISTORY.split(", ")))


def blocks(rows: DataFrame, n_users: int, size: int = USERS_A_BLOCK) -> DataFrame:
    """Add `block`: users of one block are handled together, the same ones on any cluster."""
    count = max(1, -(-n_users // size))
    return rows.withColumn("block", F.expr(f"pmod(xxhash64(user_id), {count})"))


def profiles(rows: DataFrame, n_users: int, snapshot: str, interests: int = 1) -> DataFrame:
    """Return rows of `profiles`, from rows of `history`; no vector is shuffled."""
    return (
        blocks(rows.where("weight <> 0"), n_users, USERS_A_SEARCH)
        .select("block", "user_id", "item_id", "weight", "seen", "n_events", "last_event_at")
        .groupBy("block")
        .applyInArrow(_profiles_of_block(snapshot, interests), PROFILES.spark_ddl())
    )


def _profiles_of_block(folder: str, interests: int) -> Callable[[pa.Table], pa.Table]:
    def build(table: pa.Table) -> pa.Table:
        snapshot = load_snapshot(folder)
        block = histories(table, snapshot.find(table["item_id"].combine_chunks()))
        made = user_profiles(snapshot.vectors, block, interests)
        numbers = np.arange(len(made.owner)) - np.searchsorted(made.owner, made.owner)
        offsets = np.arange(len(made.owner) + 1, dtype=np.int32) * made.vectors.shape[1]
        vectors = pa.ListArray.from_arrays(pa.array(offsets), pa.array(made.vectors.ravel()))
        owners = pa.array(block.users, pa.string()).take(pa.array(made.owner))
        facts = table.group_by("user_id").aggregate([("n_events", "sum"), ("last_event_at", "max")])
        of_owner = facts.take(pc.index_in(owners, facts["user_id"].combine_chunks()))
        columns = {
            "user_id": owners,
            "interest_no": pa.array(numbers, pa.int32()),
            "weight": pa.array(made.weights),
            "vector": vectors,
            "n_events": of_owner["n_events_sum"].cast(pa.int32()),
            "last_event_at": of_owner["last_event_at_max"],
        }
        return pa.table({name: columns[name] for name in PROFILES.column_names})

    return build

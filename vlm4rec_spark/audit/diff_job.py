"""Compare two runs by what they left: answers in the log, lists in the table's history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.audit.diff import EXAMPLES, Agreement, Cost, Moves, tables
from vlm4rec_spark.errors import ConfigError, SourceError
from vlm4rec_spark.tables import DESCRIPTIONS_LOG, ITEMS, RECOMMENDATIONS, RUNS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.evaluation.tables import Table
    from vlm4rec_spark.runs import RunContext

LATE_MICROSECONDS = 1_000_000
"""Added to the end of a stage: clocks of the driver and of the table's storage differ a little."""


def compare(context: RunContext, first: str, second: str) -> list[Table]:
    """Return what changed from one run to another, as tables.

    Answers are matched by pictures and category; so the same items under another model, prompt or
    attribute file are compared. Lists come from the history of `recommendations`.

    Raises:
        ConfigError: a run is not known.
    """
    runs = delta.read(context.spark, RUNS, context.names)
    known = {row["run_id"] for row in runs.select("run_id").distinct().collect()}
    missing = [name for name in (first, second) if name not in known]
    if missing:
        last = ", ".join(sorted(known)[-5:]) or "none"
        raise ConfigError(f"No run is called {', '.join(missing)}; the last runs are: {last}.")
    log = delta.read(context.spark, DESCRIPTIONS_LOG, context.names)
    pairs = _pairs(log, first, second)
    costs = [_cost(log, name) for name in (first, second)]
    return tables(
        costs, _agreements(pairs), _examples(context, pairs), _moves(context, first, second)
    )


def _cost(log: DataFrame, run_id: str) -> Cost:
    good = F.col("status") == "ok"
    words = F.size(F.split("description", r"\s+"))
    row = log.where(F.col("run_id") == run_id).agg(
        F.concat_ws(", ", F.sort_array(F.collect_set("model"))).alias("model"),
        F.concat_ws(", ", F.sort_array(F.collect_set("prompt_version"))).alias("prompts"),
        F.count_if(good).alias("answers"),
        F.count_if(~good).alias("failed"),
        F.coalesce(F.sum("tokens_in"), F.lit(0)).alias("tokens_in"),
        F.coalesce(F.sum("tokens_out"), F.lit(0)).alias("tokens_out"),
        F.coalesce(F.avg(F.when(good, words)), F.lit(0.0)).alias("words"),
    ).first()  # fmt: skip
    return Cost(run_id, **(row.asDict() if row else {}))


def _pairs(log: DataFrame, first: str, second: str) -> DataFrame:
    """Return request_key, attribute, first, second: null is not visible."""
    keys = ["pictures", "category"]

    def of(run_id: str, value: str) -> DataFrame:
        good = log.where((F.col("run_id") == run_id) & (F.col("status") == "ok"))
        named = good.select(
            "request_key",
            F.concat_ws(",", "picture_hashes").alias("pictures"),
            F.coalesce("category", F.lit("")).alias("category"),
            F.explode("attributes").alias("attribute", "answer"),
        )
        named = named.select(*keys, "attribute", "request_key", F.col("answer.value").alias(value))
        return named.dropDuplicates([*keys, "attribute"])

    left, right = of(first, "first"), of(second, "second").drop("request_key")
    return left.join(right, [*keys, "attribute"]).select(
        "request_key", "attribute", "first", "second"
    )


def _agreements(pairs: DataFrame) -> list[Agreement]:
    same = pairs.groupBy("attribute").agg(
        F.count("*").alias("items"),
        F.avg(F.col("first").eqNullSafe(F.col("second")).cast("double")).alias("same"),
    )

    def shares(value: str) -> DataFrame:
        word = F.coalesce(value, F.lit("")).alias("value")
        return pairs.groupBy("attribute", word).agg(F.count("*").alias(f"n_{value}"))

    chance = (
        shares("first").join(shares("second"), ["attribute", "value"])
        .groupBy("attribute").agg(F.sum(F.col("n_first") * F.col("n_second")).alias("both"))
    )  # fmt: skip
    rows = same.join(chance, "attribute", "left").collect()
    return [
        Agreement(
            attribute=row["attribute"],
            items=row["items"],
            same=row["same"],
            by_chance=(row["both"] or 0) / row["items"] ** 2,
        )
        for row in rows
    ]


def _examples(context: RunContext, pairs: DataFrame) -> list[dict[str, str]]:
    items = delta.read(context.spark, ITEMS, context.names).select("item_id", "request_key")
    differing = pairs.where(~F.col("first").eqNullSafe(F.col("second")))
    chosen = (
        differing.join(items, "request_key", "left")
        .select(
            F.coalesce("item_id", "request_key").alias("item_id"), "attribute",
            F.coalesce("first", F.lit("not visible")).alias("first"),
            F.coalesce("second", F.lit("not visible")).alias("second"),
        )
        .orderBy("item_id", "attribute")
        .limit(EXAMPLES)
    )  # fmt: skip
    return [row.asDict() for row in chosen.collect()]


def _moves(context: RunContext, first: str, second: str) -> Moves | None:
    before, after = (_lists_after(context, name) for name in (first, second))
    if before is None or after is None:
        return None
    kept = F.size(F.array_intersect("before", "after"))
    per_user = (
        before.toDF("user_id", "before")
        .join(after.toDF("user_id", "after"), "user_id")
        .select("user_id", (kept / F.greatest(F.size("before"), F.size("after"))).alias("share"))
    )
    row = per_user.agg(
        F.count("*").alias("users"),
        F.count_if(F.col("share") < 1).alias("changed"),
        F.coalesce(F.avg("share"), F.lit(1.0)).alias("overlap"),
    ).first()
    most = per_user.where("share < 1").orderBy("share", "user_id").limit(EXAMPLES).collect()
    figures = row.asDict() if row else {}
    return Moves(**figures, most_moved=[(r["user_id"], r["share"]) for r in most])


def _lists_after(context: RunContext, run_id: str) -> DataFrame | None:
    """Return user_id and the ids of each list, as they were when the run had made them.

    Raises:
        SourceError: the table's history does not reach back to the run.
    """
    runs = delta.read(context.spark, RUNS, context.names)
    ended = (F.unix_micros("started_at") + 1e6 * F.col("seconds")).cast("long")
    made = runs.where((F.col("run_id") == run_id) & (F.col("stage") == "topk")).select(ended)
    row = made.first()
    if row is None:
        return None
    qualified = context.names.qualified(RECOMMENDATIONS)
    history = context.spark.sql(f"DESCRIBE HISTORY {qualified}")
    older = history.where(F.unix_micros("timestamp") <= row[0] + LATE_MICROSECONDS)
    version = older.agg(F.max("version")).collect()[0][0]
    if version is None:
        raise SourceError(f"The history of {qualified} does not reach back to run {run_id}.")
    # The name comes from the configuration, the version is a number.
    lists = context.spark.sql(f"SELECT user_id, item_id FROM {qualified} VERSION AS OF {version}")  # noqa: S608
    return lists.groupBy("user_id").agg(F.collect_list("item_id").alias("items"))

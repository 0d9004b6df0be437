"""The top-k stage: reads histories and item vectors, writes `recommendations`, `similar_items`."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.errors import RecallError
from vlm4rec_spark.profiles.job import judged_events
from vlm4rec_spark.profiles.plan import history
from vlm4rec_spark.runs import RunReport, record
from vlm4rec_spark.tables import RECOMMENDATIONS, SIMILAR_ITEMS
from vlm4rec_spark.topk import plan
from vlm4rec_spark.topk.audit import Recall, recall
from vlm4rec_spark.topk.engines import chosen_engine
from vlm4rec_spark.topk.landing import landed
from vlm4rec_spark.topk.snapshot import load_snapshot
from vlm4rec_spark.topk.snapshot_job import take_popularity, take_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)


def run(context: RunContext) -> RunReport:
    """Write the list of every user and the neighbours of every item.

    Raises:
        RecallError: the audited recall is under `topk.recall_target`; the lists in force stay.
        SourceError: the interactions cannot be read, or no item has a vector.
    """
    started = time.monotonic()
    settings = context.config.topk
    engine = chosen_engine(settings.engine)
    rows = history(judged_events(context), context.config.profiles, settings.mask_events)
    rows = landed(context, rows, "history")
    n_users = rows.select("user_id").distinct().count()
    snapshot = take_snapshot(context)
    spec = plan.SearchSpec(
        snapshot, engine, settings.k, context.run_id, take_popularity(snapshot, rows)
    )
    found = plan.recommendations(rows, n_users, spec)
    lists = landed(context, found, RECOMMENDATIONS.name)
    audited = _audit(context, rows, lists, spec)
    figures = {
        "audited_recall": audited.mean,
        "audited_recall_low": audited.low,
        "audited_users": float(audited.users),
    }
    if audited.mean < settings.recall_target:
        # Recorded before the run fails, so that the table says by how much.
        seconds = time.monotonic() - started
        record(context, RunReport("topk", {}, figures, seconds, "failed: recall under its target"))
    _check(audited, settings.recall_target)
    merged = delta.merge_on_key(
        context.spark, lists, RECOMMENDATIONS, context.names, delete_missing=True
    )
    similar = _similar(context, replace(spec, k=settings.similar_k))
    counts = {
        **_counts(lists, settings.k),
        "items": len(load_snapshot(snapshot).ids),
        "list_rows_changed": merged.changed,
        "similar_rows_changed": similar.changed,
    }
    return RunReport("topk", counts, figures, time.monotonic() - started, f"search ({engine})")


def _similar(context: RunContext, spec: plan.SearchSpec) -> delta.MergeCounts:
    n = len(load_snapshot(spec.snapshot).ids)
    tasks = -(-n // plan.ITEMS_A_TASK)
    rows = plan.similar_items(context.spark.range(0, n, 1, tasks), spec)
    return delta.merge_on_key(
        context.spark,
        landed(context, rows, SIMILAR_ITEMS.name),
        SIMILAR_ITEMS,
        context.names,
        delete_missing=True,
    )


def _audit(context: RunContext, rows: DataFrame, lists: DataFrame, spec: plan.SearchSpec) -> Recall:
    """Compare the new lists of sampled users with exact search."""
    settings = context.config.topk
    sample = plan.audit_sample(rows, settings.audit_users)
    exact = plan.recommendations(sample, settings.audit_users, replace(spec, engine="exact"))
    listed = lists.join(sample.select("user_id").distinct(), "user_id", "left_semi")
    return recall(_scores(listed), _scores(exact))


def _scores(lists: DataFrame) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in lists.where("arm = 'profile'").select("user_id", "score").collect():
        found[row["user_id"]].append(row["score"])
    return found


def _check(audited: Recall, target: float) -> None:
    logger.info(
        "audited recall %.4f (95 %% from %.4f, %d users)", audited.mean, audited.low, audited.users
    )
    if audited.mean < target:
        raise RecallError(
            f"The audited recall is {audited.mean:.4f} over {audited.users} users, under "
            f"topk.recall_target {target}; the lists in force were kept. Set topk.engine to "
            "exact, or lower the target."
        )


def _counts(lists: DataFrame, k: int) -> dict[str, int]:
    per_user = lists.groupBy("user_id").agg(F.count("*").alias("n"), F.first("arm").alias("arm"))
    row = per_user.agg(
        F.count("*").alias("users"),
        F.count_if(F.col("n") >= k).alias("users_with_full_lists"),
        F.count_if(F.col("arm") == "popular").alias("popular_users"),
        F.coalesce(F.sum("n"), F.lit(0)).alias("list_rows"),
    ).first()
    return {name: int(value) for name, value in row.asDict().items()} if row else {}

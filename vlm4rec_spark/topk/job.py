"""The top-k stage: reads histories and item vectors, writes lists and neighbours.

Tables: `recommendations`, `similar_items`, `complements`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.errors import RecallError
from vlm4rec_spark.profiles.job import judged_events, user_history
from vlm4rec_spark.profiles.vectors import fusion_of
from vlm4rec_spark.runs import RunReport, record
from vlm4rec_spark.tables import RECOMMENDATIONS, SIMILAR_ITEMS
from vlm4rec_spark.topk import plan
from vlm4rec_spark.topk.complements_job import write_complements
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.facts_job import check_rules, rerank_of, take_beside, take_segments
from vlm4rec_spark.topk.landing import landed
from vlm4rec_spark.topk.lists import ListSpec
from vlm4rec_spark.topk.snapshot_job import take_snapshot
from vlm4rec_spark.topk.tuning import audit, engine_for

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.topk.audit import Recall

logger = logging.getLogger(__name__)
ITEMS_A_TASK = 16_384


def run(context: RunContext) -> RunReport:
    """Write the list of every user, the neighbours of every item and what completes it.

    Raises:
        RecallError: the audited recall is under `topk.recall_target`; the lists in force stay.
        SourceError: the interactions cannot be read, or no item has a vector.
    """
    started = time.monotonic()
    settings = context.config.topk
    rows = landed(context, user_history(context, judged_events(context)), "history")
    n_users = rows.select("user_id").distinct().count()
    spec = search_spec(context, rows)
    engine = _engine(context, rows, spec, n_users)
    spec = replace(spec, lists=replace(spec.lists, engine=engine))
    audited = _audited(context, rows, spec, started)
    lists = landed(context, plan.recommendations(rows, n_users, spec), RECOMMENDATIONS.name)
    merged = delta.merge_on_key(
        context.spark, lists, RECOMMENDATIONS, context.names, delete_missing=True
    )
    similar = _similar(context, spec)
    counts = {
        **_counts(lists, settings.k),
        "items": len(spec.open()),
        "list_rows_changed": merged.changed,
        "similar_rows_changed": similar.changed,
        **write_complements(context, spec),
    }
    figures = {**_figures(audited), "search_width": float(engine.width)}
    seconds = time.monotonic() - started
    return RunReport("topk", counts, figures, seconds, f"search ({engine.name})")


def check(context: RunContext) -> None:
    """Check the settings before any stage of the job starts.

    Raises:
        ConfigError: a rule is wrong.
    """
    check_rules(context.config)


def search_spec(context: RunContext, rows: DataFrame) -> plan.SearchSpec:
    """Bring the item matrix up to date and return how lists are made, but for the engine."""
    snapshot = take_snapshot(context)
    segments = take_segments(rows)
    lists = ListSpec(
        EngineSpec("exact"),
        context.config.topk.k,
        rerank_of(context.config),
        segments,
        bool(context.config.topk.user_rules),
        context.config.profiles.interests,
        fusion_of(context.config.profiles),
        (context.config.topk.reasons.items, context.config.topk.reasons.words),
    )
    beside = take_beside(context, snapshot, rows, segments)
    return plan.SearchSpec(snapshot, beside, lists, context.run_id)


def _engine(
    context: RunContext, rows: DataFrame, spec: plan.SearchSpec, n_users: int
) -> EngineSpec:
    """Choose the engine and tune it on users who are not those of the audit."""
    settings = context.config.topk
    sample = plan.sampled(rows, settings.audit_users, "tune").toArrow()
    how = (spec.lists.interests, spec.lists.fusion)
    searches = n_users
    if spec.lists.fusion.is_late:
        searches = rows.where("weight > 0").count()
    return engine_for(spec.open(), sample, settings, searches, *how)


def _audited(context: RunContext, rows: DataFrame, spec: plan.SearchSpec, started: float) -> Recall:
    """Measure the recall on sampled users before the work is done, and fail under the target."""
    settings = context.config.topk
    sample = plan.sampled(rows, settings.audit_users, "audit").toArrow()
    how = (spec.lists.interests, spec.lists.fusion)
    audited = audit(spec.open(), sample, spec.lists.engine, settings.k, *how)
    logger.info(
        "audited recall %.4f (95 %% from %.4f, %d users)", audited.mean, audited.low, audited.users
    )
    if audited.mean < settings.recall_target:
        # Recorded before the run fails, so that the table says by how much.
        seconds = time.monotonic() - started
        problem = "failed: recall under its target"
        record(context, RunReport("topk", {}, _figures(audited), seconds, problem))
        raise RecallError(
            f"The audited recall is {audited.mean:.4f} over {audited.users} users, under "
            f"topk.recall_target {settings.recall_target}; the lists in force were kept. Set "
            "topk.engine to exact, raise topk.audit_users, or lower the target."
        )
    return audited


def _figures(audited: Recall) -> dict[str, float]:
    return {
        "audited_recall": audited.mean,
        "audited_recall_low": audited.low,
        "audited_users": float(audited.users),
    }


def _similar(context: RunContext, spec: plan.SearchSpec) -> delta.MergeCounts:
    spec = replace(spec, lists=replace(spec.lists, k=context.config.topk.similar_k))
    n = len(spec.open())
    rows = plan.similar_items(context.spark.range(0, n, 1, -(-n // ITEMS_A_TASK)), spec)
    return delta.merge_on_key(
        context.spark,
        landed(context, rows, SIMILAR_ITEMS.name),
        SIMILAR_ITEMS,
        context.names,
        delete_missing=True,
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

"""The profiles stage: reads interactions and item vectors, writes `profiles`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from vlm4rec_spark import delta
from vlm4rec_spark.catalog.sources import read_source
from vlm4rec_spark.profiles import plan
from vlm4rec_spark.runs import RunReport
from vlm4rec_spark.tables import ITEMS, PROFILES
from vlm4rec_spark.topk.landing import landed
from vlm4rec_spark.topk.snapshot_job import take_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)
HISTORY_LANDING = "history"


def run(context: RunContext) -> RunReport:
    """Write the profile of each user with a usable history, a row for each interest.

    Raises:
        SourceError: the interactions cannot be read or lack a column.
    """
    started = time.monotonic()
    judged = judged_events(context)
    counts = plan.count_problems(judged)
    rows = landed(context, user_history(context, judged), HISTORY_LANDING)
    n_users = rows.select("user_id").distinct().count()
    found = plan.profiles(rows, n_users, take_snapshot(context), context.config.profiles.interests)
    merged = delta.merge_on_key(
        context.spark,
        landed(context, found, PROFILES.name),
        PROFILES,
        context.names,
        delete_missing=True,
    )
    for name in ("null_ids", "future_timestamps", "unknown_items", "duplicates"):
        if counts.get(name):
            logger.warning("interactions: %d rows left out: %s", counts[name], name)
    counts |= {"users": n_users, "profiles_changed": merged.changed}
    return RunReport("profiles", counts, {}, time.monotonic() - started, "reading interactions")


def user_history(context: RunContext, judged: DataFrame) -> DataFrame:
    """Return what each user did with each item, and the segment of each user."""
    config = context.config
    rows = plan.history(judged, config.profiles, config.topk.mask_events)
    source = config.sources.users
    named = source.table or source.path or source.options
    return plan.with_segments(rows, read_source(context.spark, source) if named else None)


def judged_events(context: RunContext) -> DataFrame:
    """Return the interaction log with each row's weight and problem."""
    source = context.config.sources.interactions
    interactions = read_source(context.spark, source, context.names)
    items = delta.read(context.spark, ITEMS, context.names)
    return plan.events(interactions, items, context.config.profiles)

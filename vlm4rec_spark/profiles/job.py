"""The profiles stage: reads interactions and item vectors, writes `profiles`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from vlm4rec_spark import delta
from vlm4rec_spark.catalog.sources import read_source
from vlm4rec_spark.delta_lists import replace_lists
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.profiles import plan
from vlm4rec_spark.refresh import plan as refresh_plan
from vlm4rec_spark.refresh.job import Stage, Start, begin, finish, writing
from vlm4rec_spark.refresh.lists import WHOLE
from vlm4rec_spark.refresh.state import State, history_signature, moves_together, signature
from vlm4rec_spark.runs import RunReport
from vlm4rec_spark.tables import ITEMS, PROFILES
from vlm4rec_spark.topk.landing import Note, landed, landed_in, landing
from vlm4rec_spark.topk.snapshot_job import take_snapshot, vectors_in_force

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.config import Config
    from vlm4rec_spark.delta import MergeCounts
    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)
HISTORY_LANDING = "history"


def run(context: RunContext) -> RunReport:
    """Write the profile of each user with a usable history, a row for each interest.

    Raises:
        SourceError: the interactions cannot be read, lack a column, or are all of a type that
            has no weight.
    """
    started = time.monotonic()
    judged = landed(context, judged_events(context), "events")
    counts = plan.count_problems(judged, context.config.profiles)
    check_types(counts, judged, context.config)
    vectors = vectors_in_force(context)
    counts["events_without_vector"] = plan.count_without_vector(judged, vectors)
    _warn(counts, context.config)
    rows = take_history(context, judged)
    n_users = rows.select("user_id").distinct().count()
    start = begin(context, _stage(context, judged), rows)
    merged = _write_all(context, start, n_users) if start.anew else _write_changed(context, start)
    finish(context, start, rows)
    counts |= {"users": n_users, "profiles_changed": merged.changed, **start.counts}
    took = f"reading interactions{start.told}"
    return RunReport("profiles", counts, {}, time.monotonic() - started, took)


def check_types(counts: dict[str, int], judged: DataFrame, config: Config) -> None:
    """Tell of event types without a weight: their events count nothing, and nobody would see why.

    Args:
        counts: of `plan.count_problems`.
        judged: rows of `plan.events`.
        config: the weights.

    Raises:
        SourceError: no event has a type with a weight.
    """
    n_unknown = counts.get("events_of_unknown_type", 0)
    if not n_unknown:
        return
    seen = ", ".join(f"'{kind}'" for kind in plan.unknown_types(judged, config.profiles))
    expected = ", ".join(f"'{kind}'" for kind in sorted(config.profiles.events)) or "none"
    told = (
        f"interactions: {n_unknown} of {counts['events']} events have a type without a weight "
        f"(most often {seen}; profiles.events has {expected})"
    )
    if n_unknown == counts["events"]:
        raise SourceError(f"{told}, so that no profile can be made. Name them in profiles.events.")
    logger.warning("%s and count nothing in a profile", told)


def _warn(counts: dict[str, int], config: Config) -> None:
    for name in plan.PROBLEMS:
        if counts.get(name):
            logger.warning("interactions: %d rows left out: %s", counts[name], name)
    if counts["events_without_vector"]:
        logger.warning(
            "interactions: %d events are in no profile: their items have no vector in space '%s'",
            counts["events_without_vector"],
            config.embed.serve_space,
        )
    if config.profiles.min_rating is not None and counts.get("events_without_rating"):
        logger.warning(
            "interactions: %d events without a readable rating are taken as rated 1.0",
            counts["events_without_rating"],
        )


def _stage(context: RunContext, judged: DataFrame) -> Stage:
    config, end = context.config, None
    if config.topk.refresh == "changed":
        # Weights are stored as of a moment that all of them share.
        end = plan.last_half_life(judged, config.profiles).first()
    shape = signature(config, "profiles", end[0] if end else None)
    now = State(shape, take_snapshot(context))
    return Stage("profiles", (PROFILES,), now, moves_together(config))


def _write_all(context: RunContext, start: Start, n_users: int) -> MergeCounts:
    interests = context.config.profiles.interests
    found = plan.profiles(start.history, n_users, start.stage.now.snapshot, interests)
    writing(context, start.stage)
    return landed_in(context, found, PROFILES)


def _write_changed(context: RunContext, start: Start) -> MergeCounts:
    interests = context.config.profiles.interests
    rows = start.history.where(WHOLE)
    n_changed = start.drift.users_changed if start.drift else 0
    found = plan.profiles(rows, n_changed, start.stage.now.snapshot, interests)
    owners = rows.select("user_id").union(start.lost).distinct()
    stored = delta.read(context.spark, PROFILES, context.names)
    lists = refresh_plan.whole_lists(owners, found, stored, PROFILES)
    lists = landed(context, lists, PROFILES.name)
    writing(context, start.stage)
    return replace_lists(lists, PROFILES, context.names, context.run_id, first=0)


def take_history(context: RunContext, judged: DataFrame | None = None) -> DataFrame:
    """Return rows of `history` from files; those of this run and its settings, where it has them.

    Args:
        context: the run.
        judged: rows of `judged_events`; None: they are read.
    """
    note = Note.of(context, HISTORY_LANDING, history_signature(context.config))
    folder = note.read() if judged is None else None
    if folder:
        return context.spark.read.schema(plan.HISTORY).parquet(folder)
    note.take_back()
    judged = judged_events(context) if judged is None else judged
    rows = landed(context, user_history(context, judged), HISTORY_LANDING)
    note.write(str(landing(context, HISTORY_LANDING)))
    return rows


def user_history(context: RunContext, judged: DataFrame) -> DataFrame:
    """Return what each user did with each item, and what is known of each user."""
    config = context.config
    rows = plan.history(judged, config.profiles, config.topk.mask_events)
    source = config.sources.users
    users = read_source(context.spark, source) if source.is_given else None
    return plan.with_fingerprints(plan.with_users(rows, users))


def judged_events(context: RunContext) -> DataFrame:
    """Return the interaction log with each row's weight and problem."""
    source = context.config.sources.interactions
    interactions = read_source(context.spark, source, context.names)
    items = delta.read(context.spark, ITEMS, context.names)
    return plan.events(interactions, items, context.config.profiles)

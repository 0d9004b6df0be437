"""The top-k stage: reads histories and item vectors, writes lists and neighbours.

Tables: `recommendations`, `similar_items`, `complements`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from vlm4rec_spark.errors import RecallError
from vlm4rec_spark.profiles.job import take_history
from vlm4rec_spark.profiles.vectors import fusion_of
from vlm4rec_spark.refresh.job import Stage, Start, begin, finish
from vlm4rec_spark.refresh.state import State, moves_together, signature
from vlm4rec_spark.runs import RunReport, record
from vlm4rec_spark.tables import RECOMMENDATIONS, SIMILAR_ITEMS
from vlm4rec_spark.topk import plan
from vlm4rec_spark.topk.audit import Audit
from vlm4rec_spark.topk.complements_job import write_complements
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.facts_job import rerank_of, take_beside, take_segments
from vlm4rec_spark.topk.lists import ListSpec
from vlm4rec_spark.topk.lists_job import Work, write_all, write_changed
from vlm4rec_spark.topk.rule_checks import check_rules
from vlm4rec_spark.topk.snapshot import load_snapshot
from vlm4rec_spark.topk.snapshot_job import taken_snapshot
from vlm4rec_spark.topk.texts import fitting_encoder
from vlm4rec_spark.topk.tuning import audit, audit_neighbours, engine_for, serves_again, widened

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)


def run(context: RunContext) -> RunReport:
    """Write the list of every user, the neighbours of every item and what completes it.

    With `topk.refresh` changed only lists that new events or items can change are made.

    Raises:
        RecallError: the audited recall is under `topk.recall_target`; the lists in force stay.
        SourceError: the interactions cannot be read, or no item has a vector.
    """
    started = time.monotonic()
    rows = take_history(context)
    n_users = rows.select("user_id").distinct().count()
    spec = search_spec(context, rows)
    start = begin(context, _stage(context, spec), rows)
    spec, audited = _searching(context, rows, spec, (start, n_users), started)
    work = Work(context, spec, start.searched_by(spec.lists.engine), n_users)
    counts, floors = write_all(work) if start.anew else write_changed(work)
    finish(context, work.start, rows, floors)
    counts |= {"items": len(spec.open()), **start.counts, **write_complements(context, spec)}
    engine = spec.lists.engine
    figures = {**_figures(audited), "search_width": float(engine.width)}
    return RunReport(
        "topk", counts, figures, time.monotonic() - started, f"search ({engine.name}){start.told}"
    )


def check(context: RunContext) -> None:
    """Check the settings before any stage of the job starts.

    Raises:
        ConfigError: a rule is wrong.
    """
    check_rules(context.config)


def search_spec(context: RunContext, rows: DataFrame) -> plan.SearchSpec:
    """Bring the item matrix up to date and return how lists are made, but for the engine."""
    snapshot = taken_snapshot(context)
    segments = take_segments(rows, context.config.topk.user_rules)
    encoder = None
    if context.config.sources.users.columns.text:
        encoder = fitting_encoder(context.config, load_snapshot(snapshot))
    lists = ListSpec(
        EngineSpec("exact"),
        context.config.topk.k,
        rerank_of(context.config),
        segments,
        bool(context.config.topk.user_rules),
        context.config.profiles.interests,
        fusion_of(context.config.profiles),
        (context.config.topk.reasons.items, context.config.topk.reasons.words),
        encoder,
    )
    beside = take_beside(context, snapshot, rows, segments)
    return plan.SearchSpec(snapshot, beside, lists, context.run_id, context.config.topk.shards)


def _stage(context: RunContext, spec: plan.SearchSpec) -> Stage:
    """Return what this run's lists are made from."""
    beside, lists = spec.beside, spec.lists
    groups = lists.segments if lists.has_user_rules else ()
    facts = ("topk", groups, beside.promoted, beside.business)
    now = State(signature(context.config, *facts), spec.snapshot, allowed=beside.allowed or "")
    together = moves_together(context.config)
    rerank = lists.rerank
    if rerank.shares or rerank.pins or rerank.business_weight:
        together = "pins, promotions and business value reach beyond the candidates of a list"
    return Stage("topk", (RECOMMENDATIONS, SIMILAR_ITEMS), now, together)


def _searching(
    context: RunContext,
    rows: DataFrame,
    spec: plan.SearchSpec,
    begun: tuple[Start, int],
    started: float,
) -> tuple[plan.SearchSpec, Audit]:
    """Return the spec with an engine, and its recall; the last run's engine where it will do."""
    start, n_users = begun
    target = context.config.topk.recall_target
    if not start.anew and start.before:
        engine = EngineSpec(*start.before.engine)
        if serves_again(context.config.topk, engine):
            before = _with(spec, engine)
            audited = _audit(context, rows, before, 1)
            if audited.worst.mean >= target:
                return before, audited
    engine, audited = widened(
        _engine(context, rows, spec, n_users),
        len(spec.open()),
        target,
        lambda tried, number: _audit(context, rows, _with(spec, tried), number),
    )
    worst = audited.worst
    if worst.mean < target:
        # Recorded before the run fails, so that the table says by how much.
        seconds = time.monotonic() - started
        problem = "failed: recall under its target"
        record(context, RunReport("topk", {}, _figures(audited), seconds, problem))
        raise RecallError(
            f"The audited recall of {_whose(audited)} is {worst.mean:.4f} over {worst.users} of "
            f"them, under topk.recall_target {target}; the lists in force were kept. Set "
            "topk.engine to exact, raise topk.audit_users, or lower the target."
        )
    return _with(spec, engine), audited


def _with(spec: plan.SearchSpec, engine: EngineSpec) -> plan.SearchSpec:
    return replace(spec, lists=replace(spec.lists, engine=engine))


def _engine(
    context: RunContext, rows: DataFrame, spec: plan.SearchSpec, n_users: int
) -> EngineSpec:
    """Choose the engine and tune it on users who are not those of the audit."""
    settings = context.config.topk
    sample = plan.sampled(rows, settings.audit_users, "tune").toArrow()
    searches = n_users
    if spec.lists.fusion.is_late:
        searches = rows.where("weight > 0").count()
    return engine_for(spec.open(), sample, settings, searches, spec.lists)


def _audit(context: RunContext, rows: DataFrame, spec: plan.SearchSpec, number: int) -> Audit:
    """Measure the recall on sampled users and items, others in each audit, before any search."""
    settings = context.config.topk
    sample = plan.sampled(rows, settings.audit_users, f"audit {number}").toArrow()
    snapshot, similar = spec.open(), replace(spec.lists, k=settings.similar_k)
    audited = Audit(
        audit(snapshot, sample, spec.lists),
        audit_neighbours(snapshot, similar, settings.audit_users, number),
    )
    for what, recall in (("users", audited.lists), ("items", audited.neighbours)):
        logger.info(
            "audited recall of %d %s: %.4f (95 %% from %.4f)",
            recall.users, what, recall.mean, recall.low,
        )  # fmt: skip
    return audited


def _whose(audited: Audit) -> str:
    return "users' lists" if audited.worst is audited.lists else "items' neighbours"


def _figures(audited: Audit) -> dict[str, float]:
    lists, neighbours = audited.lists, audited.neighbours
    return {
        "audited_recall": lists.mean,
        "audited_recall_low": lists.low,
        "audited_recall_high": min(1.0, 2 * lists.mean - lists.low),
        "audited_users": float(lists.users),
        "audited_recall_similar": neighbours.mean,
        "audited_recall_similar_low": neighbours.low,
    }

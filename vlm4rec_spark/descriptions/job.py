"""The describe stage: reads items and images, sends what is new, writes descriptions."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.catalog.job import pictures
from vlm4rec_spark.descriptions import plan
from vlm4rec_spark.descriptions.report import Tally, check_failures, report
from vlm4rec_spark.descriptions.specs import worker_spec
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG, IMAGES, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from vlm4rec_spark.descriptions.worker import WorkerSpec
    from vlm4rec_spark.runs import RunContext, RunReport

logger = logging.getLogger(__name__)


def run(context: RunContext) -> RunReport:
    """Describe every item whose request has no settled answer yet.

    Raises:
        EngineError: the model server or endpoint cannot be used at all.
        FailureRateError: more requests failed than allowed; what succeeded is committed.
    """
    started = time.monotonic()
    spec = worker_spec(context.config, context.run_id)
    _recover(context)
    images = delta.read(context.spark, IMAGES, context.names)
    _set_request_keys(context, images, spec)
    wanted, items_without, to_send = _counts(context)
    sending = time.monotonic()
    if to_send:
        _describe(context, images, spec)
    tally = _tally(context) if to_send else Tally()
    finished = time.monotonic()
    result = report(
        tally,
        wanted=wanted,
        to_send=to_send,
        items_without_picture=items_without,
        sending_s=finished - sending,
        seconds=finished - started,
    )
    check_failures(tally, context.config.describe)
    return result


def _read(context: RunContext) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Return items, descriptions and the log as they are now."""
    spark, names = context.spark, context.names
    return (
        delta.read(spark, ITEMS, names),
        delta.read(spark, DESCRIPTIONS, names),
        delta.read(spark, DESCRIPTIONS_LOG, names),
    )


def _recover(context: RunContext) -> None:
    """Make the tables, and merge what an earlier run landed but did not merge."""
    for table in (DESCRIPTIONS_LOG, DESCRIPTIONS):
        delta.create_table(context.spark, table, context.names)
    _, descriptions, log = _read(context)
    lost = plan.newest(plan.unmerged(log, descriptions))
    if not lost.isEmpty():
        delta.merge_on_key(context.spark, lost, DESCRIPTIONS, context.names)


def source_pictures(context: RunContext, images: DataFrame) -> DataFrame | None:
    """Return the pictures of the source where `images` cannot lead to the bytes again.

    That is where the source holds them itself, and for URLs: `images.uri` lacks their signature.
    """
    if images.where("status = 'ok' AND (uri IS NULL OR uri LIKE 'http%')").isEmpty():
        return None
    return pictures(context)


def _set_request_keys(context: RunContext, images: DataFrame, spec: WorkerSpec) -> None:
    hashes = plan.primary_pictures(images, context.config.images.max_images)
    items = delta.read(context.spark, ITEMS, context.names)
    changed = plan.with_request_keys(items, hashes, spec.rules)
    delta.merge_on_key(context.spark, changed, ITEMS, context.names)


def _counts(context: RunContext) -> tuple[int, int, int]:
    """Return the numbers of requests wanted, of items without one, and of requests to send."""
    items, descriptions, log = _read(context)
    row = items.agg(
        F.countDistinct("request_key").alias("wanted"),
        F.expr("count_if(request_key IS NULL)").alias("without"),
    ).first()
    to_send = plan.pending(items, descriptions, log).count()
    return (row["wanted"], row["without"], to_send) if row else (0, 0, 0)


def _describe(context: RunContext, images: DataFrame, spec: WorkerSpec) -> None:
    """Infer, append, merge, slice by slice: a crash before an append loses that slice only."""
    settings = context.config.describe
    source = source_pictures(context, images)
    # Not the run id alone: a run that is repeated under its id may have new work in a slice.
    # What it landed before is left out by the anti-join already.
    app_id = f"vlm4rec-describe-{context.run_id}-{uuid.uuid4().hex[:8]}"
    for number in range(settings.slices):
        ours = plan.in_slice(number, settings.slices)
        todo = plan.pending(*_read(context)).where(ours)
        shown = images.join(todo.select("item_id"), "item_id", "left_semi")
        asked = plan.primary_pictures(shown, context.config.images.max_images, source)
        rows = plan.described(todo, asked, spec, settings.tasks)
        delta.append_once(rows, DESCRIPTIONS_LOG, context.names, app_id, number)
        _, _, landed = _read(context)
        mine = landed.where(ours & (F.col("run_id") == context.run_id))
        delta.merge_on_key(context.spark, plan.newest(mine), DESCRIPTIONS, context.names)
        logger.info("Slice %d of %d is committed.", number + 1, settings.slices)


def _serving_seconds() -> Column:
    """Return the time from the first request to the last answer; no server starts in it."""
    answered = F.unix_micros("described_at") / 1e6
    return F.max(answered) - F.min(answered - F.col("latency_ms") / 1000)


def _tally(context: RunContext) -> Tally:
    """Count what this run landed in the log."""
    _, _, log = _read(context)
    mine = log.where(F.col("run_id") == context.run_id)
    total = mine.agg(
        F.expr("count_if(status = 'ok')").alias("described"),
        F.expr("count_if(status = 'error')").alias("failed"),
        F.coalesce(F.sum("tokens_in"), F.lit(0)).alias("tokens_in"),
        F.coalesce(F.sum("tokens_cached"), F.lit(0)).alias("tokens_cached"),
        F.coalesce(F.sum("tokens_out"), F.lit(0)).alias("tokens_out"),
        F.coalesce(F.sum(F.size("picture_hashes")), F.lit(0)).alias("pictures"),
        F.coalesce(F.percentile_approx("latency_ms", 0.5), F.lit(0.0)).alias("latency_ms"),
        F.coalesce(_serving_seconds(), F.lit(0.0)).alias("serving_s"),
        F.expr("count_if(stage IN ('fetch', 'decode'))").alias("not_sent"),
    ).first()
    causes = (
        mine.where("status = 'error'")
        .groupBy("stage", "error_code")
        .agg(F.count("*").alias("rows"), F.min("error_message").alias("example"))
        .orderBy(F.desc("rows"), "stage", "error_code")
        .limit(5)
        .collect()
    )
    counted = total.asDict() if total else {}
    return Tally(**counted, causes=tuple(tuple(cause) for cause in causes))

"""The describe stage: reads items and images, sends what is new, writes descriptions."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.catalog.job import pictures
from vlm4rec_spark.catalog.sources import read_source
from vlm4rec_spark.descriptions import duplicates, plan
from vlm4rec_spark.descriptions.duplicates import FOLLOWERS
from vlm4rec_spark.descriptions.report import Tally, Wanted, causes_of, check_failures, report
from vlm4rec_spark.descriptions.slices_job import PRICED_ROWS, Slices, Work
from vlm4rec_spark.descriptions.specs import worker_spec
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG, IMAGES, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.descriptions.describer import WorkerSpec
    from vlm4rec_spark.runs import RunContext, RunReport

logger = logging.getLogger(__name__)


def run(context: RunContext, most: int | None = None) -> RunReport:
    """Describe every item whose request has no settled answer yet.

    Args:
        context: session, configuration, tables, run.
        most: requests to send at most, a sample of the pending ones; None: as configured.

    Raises:
        EngineError: the model server or endpoint cannot be used at all.
        FailureRateError: more requests failed than allowed; what succeeded is committed.
    """
    started = time.monotonic()
    spec = worker_spec(context.config, context.run_id)
    is_first = not delta.table_exists(context.spark, DESCRIPTIONS_LOG, context.names)
    if not is_first:
        _recover(context)
    images = delta.read(context.spark, IMAGES, context.names)
    _set_request_keys(context, images, spec, is_first=is_first)
    followers = _followers(context, images)
    wanted = _wanted(context, followers)
    sending = time.monotonic()
    tally = Tally()
    if wanted.to_send:
        source = source_pictures(context, images)
        # Bytes travel in the queue; addresses do not, for they may hold a signature.
        has_bytes = source is not None and not source.where("content IS NOT NULL").isEmpty()
        most_images = context.config.images.max_images
        shown = plan.primary_pictures(images, most_images, source if has_bytes else None)
        again = None if has_bytes else source
        queue, to_send, n_slices = _queue(context, shown, followers, wanted.to_send, most)
        # A single slice is read once, where its addresses need not be looked up in the source.
        if n_slices > 1 or again is not None:
            queue = delta.replace(queue, plan.QUEUE, context.names)
        work = Work(queue, again, to_send, n_slices)
        tally = Slices(context, spec, work).send_all()
    copied = _copy(context, images, followers) if wanted.followers else 0
    finished = time.monotonic()
    settings = context.config.describe
    result = report(tally, settings, wanted, finished - sending, finished - started, copied)
    check_failures(tally, settings)
    if tally.failed:
        logger.warning("%d requests failed:\n%s", tally.failed, causes_of(tally))
    return result


def read_tables(context: RunContext) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Return items, descriptions and the log as they are now."""
    spark, names = context.spark, context.names
    return (
        delta.read(spark, ITEMS, names),
        delta.read(spark, DESCRIPTIONS, names),
        delta.read(spark, DESCRIPTIONS_LOG, names),
    )


def _recover(context: RunContext) -> None:
    """Merge what an earlier run landed but did not merge."""
    _, descriptions, log = read_tables(context)
    lost = plan.newest(plan.unmerged(log, descriptions))
    if not lost.isEmpty():
        delta.upsert(lost, DESCRIPTIONS, context.names)


def source_pictures(context: RunContext, images: DataFrame) -> DataFrame | None:
    """Return the pictures of the source where `images` cannot lead to the bytes again.

    That is where the source holds them itself, and for URLs: `images.uri` lacks their signature.
    """
    if images.where("status = 'ok' AND (uri IS NULL OR uri LIKE 'http%')").isEmpty():
        return None
    return pictures(context)


def _set_request_keys(
    context: RunContext, images: DataFrame, spec: WorkerSpec, *, is_first: bool
) -> None:
    hashes = plan.primary_pictures(images, context.config.images.max_images)
    items = delta.read(context.spark, ITEMS, context.names)
    rows = plan.with_new_keys(items, hashes, spec.rules)
    rekeyed = rows.withColumn("request_key", rows["new_key"])
    if is_first:
        # Every key is new: a MERGE would look for the rows to change, and read all of this twice.
        delta.replace(rekeyed, ITEMS, context.names)
        return
    changed = rekeyed.where(~rows["request_key"].eqNullSafe(rows["new_key"]))
    if not changed.isEmpty():
        delta.upsert(changed, ITEMS, context.names)


def pending(context: RunContext) -> DataFrame:
    """Return the requests that have no settled answer; see `plan.pending`."""
    items, descriptions, log = read_tables(context)
    return plan.pending(items, plan.settled(descriptions, context.config.describe), log)


def _followers(context: RunContext, images: DataFrame) -> DataFrame:
    """Write down which requests take a near-duplicate's answer; none where that is switched off."""
    config, names = context.config, context.names
    bits = config.describe.near_duplicates
    if bits is None:
        return context.spark.createDataFrame([], FOLLOWERS.spark_ddl())
    items, descriptions, _ = read_tables(context)
    hashes = duplicates.perceptual_hashes(images, config.images.max_images)
    use_title = config.describe.use_title
    todo = pending(context)
    requests = duplicates.candidates(items, hashes, descriptions, todo, use_title=use_title)
    return delta.replace(duplicates.followers(requests, bits), FOLLOWERS, names)


def _copy(context: RunContext, images: DataFrame, followers: DataFrame) -> int:
    """Give the followers the answers of their leaders; return how many got one."""
    landing = f"vlm4rec-copies-{context.run_id}-{uuid.uuid4().hex[:8]}"
    _, descriptions, log = read_tables(context)
    shown = plan.primary_pictures(images, context.config.images.max_images)
    rows = duplicates.copies(followers, pending(context), shown, descriptions)
    own = {"run_id": F.lit(context.run_id), "landing": F.lit(landing)}
    delta.append_once(rows.withColumns(own), DESCRIPTIONS_LOG, context.names, landing, 0)
    landed = plan.newest(log.where(log["landing"] == landing))
    delta.merge_on_key(context.spark, landed, DESCRIPTIONS, context.names)
    return landed.count()


def _wanted(context: RunContext, followers: DataFrame) -> Wanted:
    items, descriptions, _ = read_tables(context)
    has_copies = context.config.describe.near_duplicates is not None
    n_followers = followers.count() if has_copies else 0
    row = plan.wanted(items, plan.settled(descriptions, context.config.describe)).first()
    if row is None:
        return Wanted()
    to_send = row["pending"] - n_followers
    return Wanted(row["wanted"], to_send, row["without"], n_followers, row["failed"])


def _queue(
    context: RunContext,
    shown: DataFrame,
    followers: DataFrame,
    to_send: int,
    sample: int | None,
) -> tuple[DataFrame, int, int]:
    """Return what is to be sent, its rows, and its slices."""
    settings = context.config.describe
    items, _, _ = read_tables(context)
    todo = pending(context).join(followers, "request_key", "left_anti")
    ranks, n_slices = None, -(-to_send // settings.slice_rows)
    if sample is not None:
        ranks = (
            todo.orderBy("request_key").limit(sample).select("request_key", F.lit(0).alias("slice"))
        )
        to_send, n_slices = min(to_send, sample), 1
    elif settings.max_requests is not None or settings.cost.max_cost is not None:
        most, rows = settings.max_requests, settings.slice_rows
        first_rows = rows if settings.cost.max_cost is None else min(rows, PRICED_ROWS)
        ranks = plan.ranked(todo, items, _popularity(context), most, rows, first_rows)
        to_send = min(to_send, most or to_send)
        n_slices = -(-(to_send + rows - first_rows) // rows)
    return plan.queued(todo, shown, n_slices, ranks), to_send, n_slices


def _popularity(context: RunContext) -> DataFrame | None:
    """Return item_id, popularity (events) where the interactions are configured."""
    source = context.config.sources.interactions
    if not source.is_given:
        return None
    events = read_source(context.spark, source)
    return events.groupBy("item_id").agg(F.count("*").alias("popularity"))

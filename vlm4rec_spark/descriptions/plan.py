"""DataFrames in, DataFrames out: which requests are wanted, which of them are still to be sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.descriptions.engine import SETTLED_CODES, SETTLED_STAGES
from vlm4rec_spark.descriptions.local import LocalSpec
from vlm4rec_spark.descriptions.worker import describing, keyed
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.spread import spread
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG, ENGINE_METRICS, Column, TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import Column as Expression
    from pyspark.sql import DataFrame

    from vlm4rec_spark.config_models import DescribeConfig
    from vlm4rec_spark.descriptions.describer import WorkerSpec
    from vlm4rec_spark.descriptions.requests import RequestRules
    from vlm4rec_spark.descriptions.worker import Batches

PICTURES = pa.list_(
    pa.struct([("position", pa.int32()), ("sha256", pa.string()), ("uri", pa.string())])
)
MOST_FILES = 1000
QUEUE = TableSpec(
    "descriptions_queue",
    (
        Column("slice", pa.int32(), "Commit the request belongs to"),
        Column("request_key", pa.string(), "Request"),
        Column("item_id", pa.string(), "First item that wants it"),
        Column("category", pa.string(), "Category"),
        Column("title", pa.string(), "Title"),
        Column("attempt", pa.int32(), "1 is the first"),
        Column("pictures", PICTURES, "Pictures in order"),
        Column("contents", pa.list_(pa.binary()), "Their bytes, where the source holds them"),
    ),
    ("request_key",),
    ("slice",),
    (),
    "Working table of the describe stage: what the last run that read it twice had to send",
)


def primary_pictures(
    images: DataFrame, max_images: int, source: DataFrame | None = None
) -> DataFrame:
    """Return item_id, pictures (array of position, sha256, uri, content), the usable ones in order.

    Args:
        images: the `images` table.
        max_images: pictures of one item that go into one request.
        source: item_id, position, uri, content (binary, or null: to be read from the uri), for
            reading the bytes again; `images.uri` is for people and lacks what may be secret.
            None where only the hashes matter.
    """
    usable = images.where("status = 'ok'").select("item_id", "position", "sha256", "uri")
    if source is None:
        usable = usable.withColumn("content", F.lit(None).cast("binary"))
    else:
        usable = usable.drop("uri").join(source, ["item_id", "position"], "left")
    ordered = F.sort_array(F.collect_list(F.struct("position", "sha256", "uri", "content")))
    return usable.groupBy("item_id").agg(F.slice(ordered, 1, max_images).alias("pictures"))


def with_new_keys(items: DataFrame, pictures: DataFrame, rules: RequestRules) -> DataFrame:
    """Return the rows of `items` and, as `new_key`, the request key that each has now.

    An item without a usable picture has the key null.
    """
    asked = items.select("item_id", "category", "title").join(
        pictures.select("item_id", F.col("pictures.sha256").alias("hashes")), "item_id", "left"
    )
    keys = asked.mapInArrow(keyed(rules), "item_id STRING, request_key STRING")
    return items.join(keys.withColumnRenamed("request_key", "new_key"), "item_id")


def is_settled(*, retry_errors: bool = False) -> Expression:
    """Tell of a description whether it stays as it is: done, or wrong for good.

    With `retry_errors` nothing is wrong for good, as after a change of the server's arguments.
    """
    if retry_errors:
        return F.expr("status IN ('ok', 'skipped')")
    stages = ", ".join(f"'{stage}'" for stage in SETTLED_STAGES)
    codes = ", ".join(f"'{code}'" for code in SETTLED_CODES)
    return F.expr(
        f"status IN ('ok', 'skipped') OR stage IN ({stages}) "
        # Where a picture is fetched from, the same code may be gone tomorrow.
        f"OR (stage IN ('request', 'generate') AND error_code IN ({codes}))"
    )


def pending(items: DataFrame, settled: DataFrame, log: DataFrame) -> DataFrame:
    """Return one row for each request that has no answer: request_key, item_id, ..., attempt.

    Items that share a request key are asked about once, for the first of them by id.

    Args:
        items: the table `items`.
        settled: result of `settled`.
        log: the table `descriptions_log`.
    """
    wanted = (
        items.where("request_key IS NOT NULL")
        .groupBy("request_key")
        .agg(F.min(F.struct("item_id", "category", "title")).alias("first"))
        .select("request_key", "first.*")
    )
    attempts = log.groupBy("request_key").agg(F.max("attempt").alias("attempts"))
    return (
        wanted.join(settled, "request_key", "left_anti")
        .join(attempts, "request_key", "left")
        .withColumn("attempt", (F.coalesce("attempts", F.lit(0)) + 1).cast("int"))
        .drop("attempts")
    )


def wanted(items: DataFrame, settled: DataFrame) -> DataFrame:
    """Return one row: requests `wanted`, those `pending` or `failed`, items `without` a request.

    Args:
        items: the table `items`.
        settled: result of `settled`.
    """
    requests = items.groupBy("request_key").agg(F.count("*").alias("items"))
    return requests.join(settled, "request_key", "left").selectExpr(
        "count(request_key) AS wanted",
        "count_if(request_key IS NOT NULL AND status IS NULL) AS pending",
        "count_if(status = 'error') AS failed",
        "coalesce(sum(items) FILTER (WHERE request_key IS NULL), 0) AS without",
    )


def settled(descriptions: DataFrame, config: DescribeConfig) -> DataFrame:
    """Return request_key, status of the descriptions that are not asked for again.

    One copied from a near-duplicate is an answer only where that is switched on.
    """
    is_own = F.lit(config.near_duplicates is not None) | F.col("copied_from").isNull()
    is_kept = is_settled(retry_errors=config.retry_errors)
    return descriptions.where(is_kept & is_own).select("request_key", "status")


def queued(
    todo: DataFrame, pictures: DataFrame, slices: int, ranks: DataFrame | None = None
) -> DataFrame:
    """Return rows of `QUEUE`: the requests of a run with all they need, cut into slices.

    Args:
        todo: result of `pending`.
        pictures: result of `primary_pictures`; contents it holds are kept, so that the source is
            read once and not for each slice.
        slices: number of slices; the hash spreads each over the whole catalogue.
        ranks: request_key, slice of what a budget allows; None: everything, by hash.
    """
    if ranks is None:
        by_hash = F.expr(f"CAST(pmod(xxhash64(request_key), {slices}) AS INT)")
        rows = todo.withColumn("slice", by_hash)
    else:
        rows = todo.join(ranks, "request_key")
    shown = F.transform("pictures", lambda p: p.dropFields("content"))
    asked = pictures.select(
        "item_id", shown.alias("pictures"), F.col("pictures.content").alias("contents")
    )
    found = rows.join(asked, "item_id").select(*QUEUE.column_names)
    # A slice in files of its own: reading one must not go through all.
    return found.repartition(min(slices, MOST_FILES), "slice") if slices > 1 else found


def ranked(
    todo: DataFrame,
    items: DataFrame,
    popularity: DataFrame | None,
    most: int | None,
    rows: int,
    first_rows: int,
) -> DataFrame:
    """Return request_key, slice of the requests a budget allows: the newest day first.

    Items of one day go by popularity, then by key; what a budget leaves undone is old and rare.

    Args:
        todo: result of `pending`.
        items: the table `items`.
        popularity: item_id, popularity; None where it is not known.
        most: requests at most; None: all.
        rows: requests of one slice.
        first_rows: requests of the first one, no more than `rows`.
    """
    dated = todo.select("request_key", "item_id").join(
        items.select("item_id", F.to_date("first_seen").alias("day")), "item_id"
    )
    if popularity is not None:
        dated = dated.join(popularity, "item_id", "left")
    else:
        dated = dated.withColumn("popularity", F.lit(0))
    order = (F.desc("day"), F.desc_nulls_last("popularity"), F.asc("request_key"))
    if most is not None:
        dated = dated.orderBy(*order).limit(most)
    # One task numbers them; it holds three small columns only.
    placed = dated.withColumn("place", F.row_number().over(Window.orderBy(*order)))
    slice_of = F.floor((F.col("place") - 1 + rows - first_rows) / rows).cast("int")
    return placed.select("request_key", slice_of.alias("slice"))


def with_contents(queue: DataFrame, source: DataFrame | None, max_images: int) -> DataFrame:
    """Return queued requests with `pictures` as the worker reads them.

    Args:
        queue: rows of `QUEUE`.
        source: item_id, position, uri, content (null: to be read from the uri), for reading the
            bytes again; `images.uri` is for people and lacks what may be secret. None where the
            queue holds the bytes, or the uri is enough.
        max_images: as for `primary_pictures`.
    """
    if source is None:
        own = F.zip_with(
            "pictures", "contents", lambda p, c: p.withField("content", c).dropFields("position")
        )
        return queue.withColumn("pictures", own)
    one = queue.select("item_id", F.explode("pictures").alias("p"))
    known = one.select("item_id", "p.position", "p.sha256").withColumn("status", F.lit("ok"))
    images = known.withColumn("uri", F.lit(None).cast("string"))
    full = primary_pictures(images, max_images, source)
    return queue.drop("pictures").join(full, "item_id")


def described(requests: DataFrame, spec: WorkerSpec, tasks: int) -> DataFrame:
    """Return rows of `descriptions_log` for queued requests; reading it sends the requests."""
    rows = requests.select("request_key", "category", "title", "attempt", "pictures")
    return spread(rows, tasks, "request_key").mapInArrow(
        _on_this_task(spec), DESCRIPTIONS_LOG.spark_ddl()
    )


def _on_this_task(spec: WorkerSpec) -> Callable[[Batches], Batches]:
    def run(batches: Batches) -> Batches:
        return describing(task_spec(spec))(batches)

    return run


def task_spec(spec: WorkerSpec) -> WorkerSpec:
    """Tell the task its number, and bind a local engine to the GPUs Spark gives it, if any.

    Raises:
        ConfigError: the model is to be split over more GPUs than the task has.
    """
    context = TaskContext.get()
    gpu = context.resources().get("gpu") if context else None
    engine = spec.engine
    if gpu and isinstance(engine, LocalSpec):
        engine = replace(engine, devices=tuple(gpu.addresses))
        if (engine.tensor_parallel or 1) > len(engine.devices):
            raise ConfigError(
                f"describe.engine.tensor_parallel is {engine.tensor_parallel}, but Spark gives a "
                f"task {len(engine.devices)} GPU(s); start the application with "
                f"spark.task.resource.gpu.amount={engine.tensor_parallel}, or lower the key."
            )
    return replace(spec, engine=engine, partition=context.partitionId() if context else 0)


def sure_words(attributes: str, min_confidence: float) -> Expression:
    """Return attribute -> value of what is visible and what the model was sure enough of.

    Args:
        attributes: column of that type of `descriptions`.
        min_confidence: `describe.min_confidence`.
    """
    visible = visible_attributes(attributes, min_confidence)
    return F.transform_values(visible, lambda _, a: a["value"])


def visible_attributes(attributes: str, min_confidence: float) -> Expression:
    """Return of a column of attributes those that are visible and the model was sure enough of."""
    sure = sure_attributes(attributes, min_confidence)
    return F.map_filter(sure, lambda _, a: a["value"].isNotNull())


def sure_attributes(attributes: str, min_confidence: float) -> Expression:
    """Return of a column of attributes those that the model was sure enough of.

    An attribute without a confidence, from an endpoint that tells none, counts as sure.
    """
    return F.map_filter(
        attributes,
        lambda _, a: a["confidence"].isNull() | (a["confidence"] >= min_confidence),
    )


def newest(log: DataFrame) -> DataFrame:
    """Return the last attempt of each request, as rows of `descriptions`."""
    row = F.struct("attempt", *DESCRIPTIONS.column_names[1:])
    last = log.groupBy("request_key").agg(F.max_by(row, "attempt").alias("row"))
    return last.select("request_key", "row.*").select(*DESCRIPTIONS.column_names)


def unmerged(log: DataFrame, descriptions: DataFrame) -> DataFrame:
    """Return rows of the log that a run landed and then died before merging."""
    merged = descriptions.select("request_key", F.col("described_at").alias("merged_at"))
    # A repeated error that says the same is not written again, so an older moment is no sign of
    # a lost row there; an error is asked again anyway.
    return (
        log.join(merged, "request_key", "left")
        .where("merged_at IS NULL OR (status = 'ok' AND merged_at < described_at)")
        .drop("merged_at")
    )


def engine_metrics(landed: DataFrame) -> DataFrame:
    """Return rows of `engine_metrics` from the samples that came with landed answers."""
    samples = landed.where("engine_sample IS NOT NULL").select(
        "run_id",
        F.coalesce("server", F.lit("")).alias("server"),
        F.timestamp_micros((F.col("engine_sample")["sampled_at"] * 1e6).cast("bigint")).alias(
            "sampled_at"
        ),
        *(F.col("engine_sample")[name].alias(name) for name in ENGINE_METRICS.column_names[3:]),
    )
    return samples.dropDuplicates(list(ENGINE_METRICS.key))

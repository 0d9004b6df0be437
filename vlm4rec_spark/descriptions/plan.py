"""DataFrames in, DataFrames out: which requests are wanted, which of them are still to be sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark import TaskContext
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.descriptions.engine import SETTLED_CODES, SETTLED_STAGES
from vlm4rec_spark.descriptions.local import LocalSpec
from vlm4rec_spark.descriptions.worker import describing, keyed
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import Column, DataFrame

    from vlm4rec_spark.descriptions.requests import RequestRules
    from vlm4rec_spark.descriptions.worker import Batches, WorkerSpec


def primary_pictures(
    images: DataFrame, max_images: int, source: DataFrame | None = None
) -> DataFrame:
    """Return item_id, pictures (array of sha256, uri, content), the usable ones in order.

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
    first = F.slice(ordered, 1, max_images)
    pictures = F.transform(first, lambda p: p.dropFields("position"))
    return usable.groupBy("item_id").agg(pictures.alias("pictures"))


def with_request_keys(items: DataFrame, pictures: DataFrame, rules: RequestRules) -> DataFrame:
    """Return the rows of `items` whose request key changes, with the new key.

    An item without a usable picture has the key null.
    """
    asked = items.select("item_id", "category", "title").join(
        pictures.select("item_id", F.col("pictures.sha256").alias("hashes")), "item_id", "left"
    )
    keys = asked.mapInArrow(keyed(rules), "item_id STRING, request_key STRING")
    new = keys.withColumnRenamed("request_key", "new_key")
    return (
        items.join(new, "item_id")
        .where(~F.col("request_key").eqNullSafe(F.col("new_key")))
        .withColumn("request_key", F.col("new_key"))
        .select(*items.columns)
    )


def is_settled() -> Column:
    """Tell of a description whether asking again can change it: done, or wrong for good."""
    stages = ", ".join(f"'{stage}'" for stage in SETTLED_STAGES)
    codes = ", ".join(f"'{code}'" for code in SETTLED_CODES)
    return F.expr(
        "status IN ('ok', 'skipped') "
        f"OR stage IN ({stages}) OR (stage = 'request' AND error_code IN ({codes}))"
    )


def pending(items: DataFrame, descriptions: DataFrame, log: DataFrame) -> DataFrame:
    """Return one row for each request that is to be sent: request_key, item_id, ..., attempt.

    Items that share a request key are asked about once, for the first of them by id.
    """
    wanted = (
        items.where("request_key IS NOT NULL")
        .groupBy("request_key")
        .agg(F.min(F.struct("item_id", "category", "title")).alias("first"))
        .select("request_key", "first.*")
    )
    settled = descriptions.where(is_settled()).select("request_key")
    attempts = log.groupBy("request_key").agg(F.max("attempt").alias("attempts"))
    return (
        wanted.join(settled, "request_key", "left_anti")
        .join(attempts, "request_key", "left")
        .withColumn("attempt", (F.coalesce("attempts", F.lit(0)) + 1).cast("int"))
        .drop("attempts")
    )


def in_slice(number: int, slices: int) -> Column:
    """Tell whether a row belongs to slice `number` of `slices`, by the hash of its key."""
    return F.expr(f"pmod(xxhash64(request_key), {slices}) = {number}")


def described(todo: DataFrame, pictures: DataFrame, spec: WorkerSpec, tasks: int) -> DataFrame:
    """Return rows of `descriptions_log` for pending requests; reading it sends the requests."""
    return (
        todo.join(pictures, "item_id")
        .select("request_key", "category", "title", "attempt", "pictures")
        # A fixed number, which adaptive execution leaves alone: each task feeds the engine.
        .repartition(tasks, "request_key")
        .mapInArrow(_on_this_task(spec), DESCRIPTIONS_LOG.spark_ddl())
    )


def _on_this_task(spec: WorkerSpec) -> Callable[[Batches], Batches]:
    """Bind a local engine to the GPUs Spark gives the task, where it gives any."""

    def run(batches: Batches) -> Batches:
        context = TaskContext.get()
        gpu = context.resources().get("gpu") if context else None
        engine = spec.engine
        if gpu and isinstance(engine, LocalSpec):
            engine = replace(engine, devices=tuple(gpu.addresses))
        return describing(replace(spec, engine=engine))(batches)

    return run


def sure_words(attributes: str, min_confidence: float) -> Column:
    """Return attribute -> value of what is visible and what the model was sure enough of.

    An attribute without a confidence, from an endpoint that tells none, counts as sure.

    Args:
        attributes: column of that type of `descriptions`.
        min_confidence: `describe.min_confidence`.
    """
    used = F.map_filter(
        attributes,
        lambda _, a: (
            a["value"].isNotNull()
            & (a["confidence"].isNull() | (a["confidence"] >= min_confidence))
        ),
    )
    return F.transform_values(used, lambda _, a: a["value"])


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

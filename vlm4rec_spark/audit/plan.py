"""Frames in, frames out: the items of an audit, and what shoppers took together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.embeddings.visual_job import prepared

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.catalog.fetch import FetchSpec

THUMBNAIL_SIDE = 112
NEWEST_OF_A_USER = 200
"""Items of one user that count for co-interaction."""


def facts(items: DataFrame, descriptions: DataFrame, most: int) -> DataFrame:
    """Return at most `most` items with what is known and said of them, the same ones every time.

    Columns: item_id, title, category, said (title, brand and free attributes as one text),
    variant_group, description, attributes (array of name, value, confidence; value null: not
    visible).
    """
    chosen = items.orderBy(F.xxhash64(F.lit("audit"), "item_id"), "item_id").limit(most)
    free = F.concat_ws(" ", F.map_values("attributes"))
    described = descriptions.where("status = 'ok'").select(
        "request_key",
        "description",
        F.transform(
            F.map_entries("attributes"),
            lambda e: F.struct(
                e["key"].alias("name"), e["value"]["value"].alias("value"),
                e["value"]["confidence"].alias("confidence"),
            ),
        ).alias("words"),
    )  # fmt: skip
    return (
        chosen.select(
            "item_id", "title", "category", "variant_group", "request_key",
            F.concat_ws(" ", "title", "brand", free).alias("said"),
        )
        .join(described, "request_key", "left")
        .drop("request_key")
    )  # fmt: skip


def taken_together(judged: DataFrame, probes: DataFrame, items: DataFrame, k: int) -> DataFrame:
    """Return target_item_id, item_id, rank: the items most alike by who turned to both.

    The cosine of the items' columns of the binary user x item matrix.

    Args:
        judged: rows of `profiles.plan.events`.
        probes: item_id of the items to look from.
        items: item_id of the items that count.
        k: neighbours wanted.
    """
    newest = Window.partitionBy("user_id").orderBy(F.desc("at"), "item_id")
    had = (
        judged.where("problem IS NULL")
        .groupBy("user_id", "item_id")
        .agg(F.max("timestamp").alias("at"))
        .join(items, "item_id", "left_semi")
        .withColumn("place", F.row_number().over(newest))
        .where(F.col("place") <= NEWEST_OF_A_USER)
        .select("user_id", "item_id")
    )
    sizes = had.groupBy("item_id").agg(F.count("*").alias("users"))
    asked = had.join(probes, "item_id", "left_semi").withColumnRenamed("item_id", "target_item_id")
    together = (
        asked.join(had, "user_id")
        .where("item_id <> target_item_id")
        .groupBy("target_item_id", "item_id")
        .agg(F.count("*").alias("both"))
        .join(sizes, "item_id")
        .join(sizes.toDF("target_item_id", "target_users"), "target_item_id")
    )
    cosine = F.round(F.col("both") / F.sqrt(F.col("users") * F.col("target_users")), 6)
    best = Window.partitionBy("target_item_id").orderBy(F.desc("cosine"), "item_id")
    return (
        together.withColumn("cosine", cosine)
        .withColumn("rank", F.row_number().over(best))
        .where(F.col("rank") <= k)
        .select("target_item_id", "item_id", "rank")
    )


def thumbnails(pictures: DataFrame, fetch: FetchSpec) -> DataFrame:
    """Return item_id, jpeg: small pictures; those that cannot be read are left out."""
    return pictures.mapInArrow(_thumbnails(fetch), "item_id STRING, jpeg BINARY")


def _thumbnails(
    fetch: FetchSpec,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = pa.schema([("item_id", pa.string()), ("jpeg", pa.binary())])

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [
                {"item_id": row["item_id"], "jpeg": prepared(row, fetch, THUMBNAIL_SIDE)}
                for row in batch.to_pylist()
            ]
            found = [row for row in rows if row["jpeg"] is not None]
            yield from pa.Table.from_pylist(found, schema=schema).to_batches()

    return build

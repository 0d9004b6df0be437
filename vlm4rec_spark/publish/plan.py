"""Frames in, frames out: the published tables, and the nested form of the JSON lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.descriptions.plan import visible_attributes

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from vlm4rec_spark.publish.published import PublishedTable


def published(
    table: PublishedTable, sources: Mapping[str, DataFrame], min_confidence: float
) -> DataFrame:
    """Return the rows of a published table.

    Args:
        table: which one.
        sources: name of each source table -> its rows, all of one moment.
        min_confidence: attributes that the model was less sure of are left out.
    """
    if table.name == "item_attributes":
        frame = _item_attributes(_described(sources, min_confidence))
    elif table.name == "item_features":
        frame = _item_features(_described(sources, min_confidence))
    else:
        frame = sources[table.name]
    return frame.select(*table.column_names)


def in_slice(table: PublishedTable, number: int, slices: int) -> Column:
    """Tell which rows are in a slice; a retry of the slice sees the same rows."""
    return F.expr(f"PMOD(XXHASH64(`{table.key[0]}`), {slices}) = {number}")


def nested(table: PublishedTable, rows: DataFrame) -> DataFrame:
    """Return one row per first key column, with its list in `items`, best first."""
    if "rank" not in table.key:
        return rows
    owner = table.key[0]
    inner = [name for name in table.column_names if name not in {owner, "run_id"}]
    ordered = ["rank", *(name for name in inner if name != "rank")]
    return (
        rows.groupBy(owner)
        .agg(F.sort_array(F.collect_list(F.struct(*ordered))).alias("items"), F.first("run_id"))
        .withColumnRenamed("first(run_id)", "run_id")
    )


def _described(sources: Mapping[str, DataFrame], min_confidence: float) -> DataFrame:
    """Return the items with what is visible and sure of them as `seen`."""
    visible = visible_attributes("attributes", min_confidence)
    good = sources["descriptions"].where("status = 'ok'")
    good = good.select("request_key", "description", visible.alias("seen"), "model", "described_at")
    return sources["items"].join(good, "request_key", "left")


def _item_attributes(described: DataFrame) -> DataFrame:
    return described.withColumn("attributes", F.to_json("seen"))


def _item_features(described: DataFrame) -> DataFrame:
    """Return the long form for feature stores: a row per item and visible attribute."""
    return described.select(
        "item_id", "described_at", F.explode("seen").alias("feature", "seen")
    ).select(
        "item_id",
        "feature",
        F.col("seen.value").alias("value"),
        F.col("seen.confidence").alias("confidence"),
        F.col("described_at").alias("event_timestamp"),
    )

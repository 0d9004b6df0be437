"""Frames in, frames out: the published tables, and the nested form of the JSON lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from vlm4rec_spark.publish.published import PublishedTable


def published(table: PublishedTable, sources: Mapping[str, DataFrame]) -> DataFrame:
    """Return the rows of a published table.

    Args:
        table: which one.
        sources: name of each source table -> its rows, all of one moment.
    """
    if table.name == "item_attributes":
        frame = _item_attributes(sources["items"], sources["descriptions"])
    elif table.name == "item_features":
        frame = _item_features(sources["items"], sources["descriptions"])
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


def _described(items: DataFrame, descriptions: DataFrame) -> DataFrame:
    good = descriptions.where("status = 'ok'").select(
        "request_key", "description", F.col("attributes").alias("seen"), "model", "described_at"
    )
    return items.join(good, "request_key", "left")


def _visible(column: str) -> Column:
    return F.map_filter(column, lambda _, a: a["value"].isNotNull())


def _item_attributes(items: DataFrame, descriptions: DataFrame) -> DataFrame:
    visible = F.to_json(_visible("seen"))
    return _described(items, descriptions).withColumn("attributes", visible)


def _item_features(items: DataFrame, descriptions: DataFrame) -> DataFrame:
    """Return the long form for feature stores: a row per item and visible attribute."""
    return (
        _described(items, descriptions)
        .select("item_id", "described_at", F.explode(_visible("seen")).alias("feature", "seen"))
        .select(
            "item_id",
            "feature",
            F.col("seen.value").alias("value"),
            F.col("seen.confidence").alias("confidence"),
            F.col("described_at").alias("event_timestamp"),
        )
    )

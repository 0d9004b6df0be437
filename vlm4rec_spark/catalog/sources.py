"""Read the source tables; Spark is reached through the session that is handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm4rec_spark.catalog.columns import expressions
from vlm4rec_spark.catalog.mirror import mirrored_interactions, mirrored_items
from vlm4rec_spark.catalog.opening import open_source
from vlm4rec_spark.config_inputs import InteractionsSource, ItemColumns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from vlm4rec_spark.config import Config
    from vlm4rec_spark.config_inputs import ItemsSource, UsersSource
    from vlm4rec_spark.delta import TableNames


def read_source(
    spark: SparkSession,
    source: ItemsSource | InteractionsSource | UsersSource,
    names: TableNames | None = None,
) -> DataFrame:
    """Read a source with its canonical columns, in the order of the configuration.

    Ids are strings, null where blank; `price` and `rating` are doubles, null where they are no
    number; times are timestamps (numbers count as seconds, or milliseconds, since 1970);
    `available` is never null; `attributes` is a map<string,string> of the free columns; `image` is
    an array<string> or an array<binary>. Columns mapped to null are left out.

    Args:
        spark: session.
        source: what to read.
        names: where our tables live: an interaction log with a watermark is then fetched into
            `source_interactions`, only what is new, and read from there. None reads everything.

    Raises:
        SourceError: the source cannot be read, or lacks a mapped column.
    """
    if source.watermark and names and isinstance(source, InteractionsSource):
        return mirrored_interactions(spark, source, names)
    return _read(spark, source)


def read_items(spark: SparkSession, config: Config, names: TableNames | None = None) -> DataFrame:
    """Read the catalogue; every column of `items`, and `image`, is there, null where not mapped.

    Rows are as in the source: null and repeated ids are still among them (see `unique`). With
    `names`, a catalogue with a watermark is fetched into `source_items`, only what is new, and read
    from there.

    Raises:
        SourceError: the catalogue cannot be read, or lacks a mapped column.
    """
    source = config.sources.items
    if config.images.kind == "directory":
        source = _joined_by_name(spark, source)
    if source.watermark and names:
        return mirrored_items(spark, source, names)
    items = _read(spark, source)
    absent = {
        "title": "STRING",
        "category": "STRING",
        "brand": "STRING",
        "price": "DOUBLE",
        "variant_group": "STRING",
        "first_seen": "TIMESTAMP",
        "image": "ARRAY<STRING>",
    }
    missing = [f"CAST(NULL AS {t}) AS {n}" for n, t in absent.items() if n not in items.columns]
    if "available" not in items.columns:
        missing.append("TRUE AS available")
    return items.selectExpr("*", *missing)


def count_ids(items: DataFrame) -> dict[str, int]:
    """Return `rows`, those with no id (`null_ids`), those repeating one (`duplicate_ids`), `items`.

    `items` are what is left, one row for each id.
    """
    row = items.selectExpr(
        "COUNT(*) AS `rows`",
        "COUNT_IF(item_id IS NULL) AS null_ids",
        "COUNT(item_id) - COUNT(DISTINCT item_id) AS duplicate_ids",
        "COUNT(DISTINCT item_id) AS items",
    ).first()
    return {name: int(row[name]) for name in row.asDict()} if row is not None else {}


def unique(items: DataFrame, *, has_duplicates: bool = True) -> DataFrame:
    """Drop rows without id, and all but the first row of an id.

    Tables have no order of their own: the first row is the one with the smallest digest of its
    content, the same in every run and for any number of partitions. Saying that there are no
    duplicates saves a shuffle of all rows, pictures included.
    """
    known = items.where("item_id IS NOT NULL")
    if not has_duplicates:
        return known
    parts = [f"`{n}`" for n in items.columns if n != "image"]
    is_bytes = dict(items.dtypes).get("image") == "array<binary>"
    parts.append("TRANSFORM(image, x -> SHA2(x, 256))" if is_bytes else "image")
    digest = f"SHA2(TO_JSON(STRUCT({', '.join(parts)})), 256)"
    rank = f"ROW_NUMBER() OVER (PARTITION BY item_id ORDER BY {digest}) AS __rank"
    return known.selectExpr("*", rank).where("__rank = 1").drop("__rank")


def explode_pictures(items: DataFrame) -> DataFrame:
    """Return `item_id, position, uri, content`: a row per picture, position from 0.

    One of `uri` and `content` is null; an item without a picture has a row where both are.
    """
    is_bytes = dict(items.dtypes)["image"] == "array<binary>"
    rows = items.selectExpr("item_id", "POSEXPLODE_OUTER(image) AS (place, picture)")
    return rows.selectExpr(
        "item_id",
        "CAST(COALESCE(place, 0) AS INT) AS position",
        "CAST(NULL AS STRING) AS uri" if is_bytes else "picture AS uri",
        "picture AS content" if is_bytes else "CAST(NULL AS BINARY) AS content",
    )


def _joined_by_name(spark: SparkSession, source: ItemsSource) -> ItemsSource:
    """Let the item id name the picture, where the catalogue has no column that does.

    Only the column of the default name may be missing: another one was written by hand.
    """
    columns = source.columns
    if columns.image and columns.image != ItemColumns().image:
        return source
    if columns.image and columns.image in open_source(spark, source, "sources.items")[1]:
        return source
    named = columns.model_copy(update={"image": columns.item_id})
    return source.model_copy(update={"columns": named})


def _read(spark: SparkSession, source: ItemsSource | InteractionsSource | UsersSource) -> DataFrame:
    columns = source.columns.model_dump()
    where = "sources.users" if "segment" in columns else "sources.interactions"
    where = where if "user_id" in columns else "sources.items"
    frame, seen = open_source(spark, source, where)
    return frame.selectExpr(*expressions(seen, columns, where))

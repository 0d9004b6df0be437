"""Bring the item matrix on disk up to date with the tables."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.tables import DESCRIPTIONS, ITEM_VECTORS, ITEMS
from vlm4rec_spark.topk.engines import build_index, chosen_engine
from vlm4rec_spark.topk.snapshot import write_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)
DIGITS = 9
"""Popularity is rounded, so that sums in another order give the same folder."""


def take_snapshot(context: RunContext, history: DataFrame | None = None) -> str:
    """Write the matrix of the vectors in force where it is not there yet; return its folder.

    Args:
        context: the run.
        history: item_id, weight; popularity is the sum of the weights. None: all zero.

    Raises:
        SourceError: no item has a vector.
    """
    items = _items(context, history)
    digest = _digest(items, chosen_engine(context.config.topk.engine))
    folder = Path(context.config.topk.index_path).absolute() / f"snapshot-{digest}"
    if not (folder / "meta.json").exists():
        table = items.toArrow()
        if not len(table):
            raise SourceError(
                f"No item has a vector in space '{context.config.embed.serve_space}'; "
                "run the catalog job first, or choose another embed.serve_space."
            )
        order = np.argsort(np.asarray(table["item_id"].to_pylist(), dtype=np.str_), kind="stable")
        table = table.take(pa.array(order))
        flat = table["vector"].combine_chunks().flatten()
        vectors = flat.to_numpy().astype(np.float32).reshape(len(table), -1)
        logger.info("writing the item matrix %s: %d items", folder, len(table))
        write_snapshot(folder, table.drop_columns(["vector"]), vectors, build_index)
    return str(folder)


def _items(context: RunContext, history: DataFrame | None) -> DataFrame:
    """Return item_id, title, available, popularity, words, vector of every item with a vector."""
    spark, names = context.spark, context.names
    space = context.config.embed.serve_space
    vectors = delta.read(spark, ITEM_VECTORS, names).where(
        (F.col("space") == space) & (F.col("status") == "ok")
    )
    described = delta.read(spark, DESCRIPTIONS, names).select("request_key", "attributes")
    visible = F.map_filter("attributes", lambda _, a: a["value"].isNotNull())
    words = F.transform_values(visible, lambda _, a: a["value"])
    rows = (
        delta.read(spark, ITEMS, names)
        .join(vectors.select("item_id", "vector"), "item_id")
        .join(described.select("request_key", words.alias("words")), "request_key", "left")
    )
    if history is None:
        rows = rows.withColumn("popularity", F.lit(0.0))
    else:
        total = history.groupBy("item_id").agg(F.round(F.sum("weight"), DIGITS).alias("popularity"))
        rows = rows.join(total, "item_id", "left").fillna(0.0, ["popularity"])
    return rows.select("item_id", "title", "available", "popularity", "words", "vector")


def _digest(items: DataFrame, engine: str) -> str:
    """Return a hash of the rows, whatever their order."""
    entries = F.sort_array(F.map_entries("words"))
    row = F.xxhash64("item_id", "title", "available", "popularity", entries, "vector")
    seen = (
        items.select(row.alias("h"))
        .agg(
            F.count("*").alias("n"),
            F.sum(F.col("h").cast("decimal(38,0)")).alias("sum"),
            F.expr("bit_xor(h)").alias("xor"),
        )
        .first()
    )
    parts = [engine, *(str(value) for value in (seen or ()))]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]

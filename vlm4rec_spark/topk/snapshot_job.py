"""Bring the item matrix on disk up to date with the tables."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.descriptions.plan import sure_words
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.tables import DESCRIPTIONS, ITEM_VECTORS, ITEMS
from vlm4rec_spark.topk.centring import Space
from vlm4rec_spark.topk.snapshot import FORMAT
from vlm4rec_spark.topk.snapshot import ITEMS as STORED
from vlm4rec_spark.topk.snapshot_files import write_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)
ITEMS_A_READ = 200_000
"""Rows one job brings to the driver: results of a job have an upper size in Spark."""


def take_snapshot(context: RunContext) -> str:
    """Write the matrix of the vectors in force where it is not there yet; return its folder.

    Raises:
        SourceError: no item has a vector, or the vectors come from more than one encoder.
    """
    items = _items(context)
    n, digest, encoder = _digest(context, items)
    folder = Path(context.config.topk.index_path).absolute() / f"snapshot-{digest}"
    if not (folder / "meta.json").exists():
        logger.info("writing the item matrix %s: %d items", folder, n)
        table, vectors = _collected(items, n)
        write_snapshot(
            folder,
            table,
            vectors,
            encoder,
            with_scann=context.config.topk.engine == "scann",
            space=_space(context),
        )
    return str(folder)


def _space(context: RunContext) -> Space:
    profiles = context.config.profiles
    kind = "whitened" if profiles.whiten else "centred" if profiles.centre else "plain"
    return Space(kind, tuple(sorted(profiles.facets.items())))


def _items(context: RunContext) -> DataFrame:
    """Return the columns of the matrix's items, vector and encoder, of items with a vector."""
    spark, names = context.spark, context.names
    space = context.config.embed.serve_space
    vectors = delta.read(spark, ITEM_VECTORS, names).where(
        (F.col("space") == space) & (F.col("status") == "ok")
    )
    described = delta.read(spark, DESCRIPTIONS, names).select("request_key", "attributes")
    words = sure_words("attributes", context.config.describe.min_confidence)
    return (
        delta.read(spark, ITEMS, names)
        .join(vectors.select("item_id", "vector", "encoder"), "item_id")
        .join(described.select("request_key", words.alias("words")), "request_key", "left")
        .select(*STORED.names, "vector", "encoder")
    )


def _digest(context: RunContext, items: DataFrame) -> tuple[int, str, str]:
    """Return the number of rows, a hash of them whatever their order, and their encoder."""
    entries = F.sort_array(F.map_entries("words"))
    plain = [name for name in STORED.names if name != "words"]
    row = F.xxhash64(*plain, entries, "vector")
    seen = (
        items.select(row.alias("h"), "encoder")
        .agg(
            F.count("*").alias("n"),
            F.sum(F.col("h").cast("decimal(38,0)")).alias("total"),
            F.expr("bit_xor(h)").alias("mixed"),
            F.sort_array(F.collect_set("encoder")).alias("encoders"),
        )
        .first()
    )
    space = context.config.embed.serve_space
    if seen is None or not seen["n"]:
        raise SourceError(
            f"No item has a vector in space '{space}'; run the catalog job first, or choose "
            "another embed.serve_space."
        )
    if len(seen["encoders"]) > 1:
        raise SourceError(
            f"The vectors in space '{space}' come from several encoders "
            f"({', '.join(seen['encoders'])}); run the catalog job to its end."
        )
    made = (FORMAT, context.config.topk.engine == "scann", _space(context))
    parts = (*made, *seen["encoders"], seen["n"], seen["total"], seen["mixed"])
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).hexdigest()[:16]
    return int(seen["n"]), digest, str(seen["encoders"][0])


def _collected(items: DataFrame, n: int) -> tuple[pa.Table, npt.NDArray[np.float32]]:
    """Bring the rows to the driver in reads of bounded size, sorted by id."""
    reads = -(-n // ITEMS_A_READ)
    parts = [
        items.drop("encoder").where(F.expr(f"pmod(xxhash64(item_id), {reads}) = {read}")).toArrow()
        for read in range(reads)
    ]
    table = pa.concat_tables(parts)
    order = np.argsort(np.asarray(table["item_id"].to_pylist(), dtype=np.str_), kind="stable")
    vectors = np.concatenate(
        [chunk.flatten().to_numpy() for part in parts for chunk in part["vector"].chunks]
    )
    vectors = vectors.astype(np.float32, copy=False).reshape(len(table), -1)[order]
    return table.drop_columns(["vector"]).take(pa.array(order)), vectors

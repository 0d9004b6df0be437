"""Bring the item matrix on disk up to date with the tables."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.descriptions.plan import sure_words
from vlm4rec_spark.embeddings.matrix import as_matrix
from vlm4rec_spark.errors import SchemaError, SourceError
from vlm4rec_spark.tables import DESCRIPTIONS, ITEM_VECTORS, ITEMS
from vlm4rec_spark.topk.centring import PLAIN, space_of
from vlm4rec_spark.topk.landing import Note
from vlm4rec_spark.topk.snapshot import FORMAT, load_snapshot, snapshots
from vlm4rec_spark.topk.snapshot import ITEMS as STORED
from vlm4rec_spark.topk.snapshot_files import is_whole, write_grown, write_snapshot
from vlm4rec_spark.topk.snapshot_growth import FRESH, grown, to_fetch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.topk.snapshot import Snapshot

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
    if folder.exists() and not is_whole(folder):
        logger.warning("a file of the item matrix %s is not as it was written", folder)
        shutil.rmtree(folder)
    if not folder.exists():
        logger.info("writing the item matrix %s: %d items", folder, n)
        if not _grow(context, items, folder, n, encoder):
            table, vectors = _collected(items, n)
            write_snapshot(
                folder,
                table,
                vectors,
                encoder,
                with_scann=context.config.topk.with_scann,
                space=space_of(context.config.profiles),
            )
    _note(context).write(str(folder))
    return str(folder)


def taken_snapshot(context: RunContext) -> str:
    """Return the folder of the matrix that this run has taken, or take it.

    What an earlier stage of the run saw holds for all of it; and no vector is read a second time.

    Raises:
        SourceError: see `take_snapshot`.
    """
    folder = _note(context).read()
    return folder if folder and Path(folder).exists() else take_snapshot(context)


def _note(context: RunContext) -> Note:
    config = context.config
    facts = (
        FORMAT,
        config.topk.with_scann,
        space_of(context.config.profiles),
        config.embed.serve_space,
    )
    return Note.of(context, "snapshot", *facts, config.describe.min_confidence)


def _grow(context: RunContext, items: DataFrame, folder: Path, n: int, encoder: str) -> bool:
    """Make the matrix from the one before, where it was made in the same way; tell whether."""
    topk = context.config.topk
    if topk.refresh != "changed" or space_of(context.config.profiles) != PLAIN:
        return False
    before = _last(folder.parent, encoder)
    if before is None:
        return False
    slim = items.select("item_id", "hash", *FRESH)
    facts = pa.concat_tables([part.toArrow() for part in _parts(slim, n)])
    ids = to_fetch(before, facts)
    if ids is None:
        return False
    wanted = delta.ids_frame(context.spark, ids)
    if len(ids):
        fetched, vectors = _collected(items.join(wanted, "item_id", "left_semi"), len(ids))
    else:
        fetched, vectors = before.items[:0], before.vectors[:0]
    logger.info("%d items are new or changed, the others stay in their leaves", len(ids))
    rows = grown(before, facts, fetched, vectors)
    write_grown(folder, *rows, with_scann=topk.with_scann)
    return True


def _last(root: Path, encoder: str) -> Snapshot | None:
    """Return the newest matrix of plain vectors of an encoder."""
    for path in snapshots(root)[:1]:
        try:
            found = load_snapshot(str(path))
        except SchemaError:  # of an earlier version
            return None
        if found.encoder == encoder and found.centre is None and found.facets is None:
            return found
    return None


def vectors_in_force(context: RunContext) -> DataFrame:
    """Return the rows of `item_vectors` that profiles, lists and search work with."""
    space = context.config.embed.serve_space
    return delta.read(context.spark, ITEM_VECTORS, context.names).where(
        (F.col("space") == space) & (F.col("status") == "ok")
    )


def _items(context: RunContext) -> DataFrame:
    """Return items with a vector: the columns of the matrix's items, vector, encoder, hash."""
    spark, names = context.spark, context.names
    vectors = vectors_in_force(context)
    described = delta.read(spark, DESCRIPTIONS, names).select("request_key", "attributes")
    words = sure_words("attributes", context.config.describe.min_confidence)
    plain = [name for name in STORED.names if name not in (*FRESH, "words")]
    row = F.xxhash64(*plain, F.sort_array(F.map_entries("words")), "v")
    return (
        delta.read(spark, ITEMS, names)
        # Hashed here: where only the hash is wanted, no vector goes into the join.
        .join(
            vectors.select("item_id", "vector", "encoder", F.xxhash64("vector").alias("v")),
            "item_id",
        )
        .join(described.select("request_key", words.alias("words")), "request_key", "left")
        .select(*STORED.names, "vector", "encoder", row.alias("hash"))
    )


def _digest(context: RunContext, items: DataFrame) -> tuple[int, str, str]:
    """Return the number of rows, a hash of them whatever their order, and their encoder."""
    row = F.xxhash64("hash", *FRESH)
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
    made = (FORMAT, context.config.topk.with_scann, space_of(context.config.profiles))
    parts = (*made, *seen["encoders"], seen["n"], seen["total"], seen["mixed"])
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).hexdigest()[:16]
    return int(seen["n"]), digest, str(seen["encoders"][0])


def _collected(items: DataFrame, n: int) -> tuple[pa.Table, npt.NDArray[np.float32]]:
    """Bring the rows to the driver in reads of bounded size, sorted by id.

    Raises:
        SchemaError: see `as_matrix`.
    """
    table = pa.concat_tables([part.toArrow() for part in _parts(items.drop("encoder"), n)])
    order = np.argsort(np.asarray(table["item_id"].to_pylist(), dtype=np.str_), kind="stable")
    vectors = as_matrix(table["item_id"], table["vector"])[order]
    return table.drop_columns(["vector"]).take(pa.array(order)), vectors


def _parts(items: DataFrame, n: int) -> list[DataFrame]:
    """Split n rows into reads of bounded size."""
    reads = max(1, -(-n // ITEMS_A_READ))
    of_read = F.expr(f"pmod(xxhash64(item_id), {reads})")
    return [items.where(of_read == read) for read in range(reads)]

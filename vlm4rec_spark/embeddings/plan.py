"""Frames in, frames out: the texts of the items, their vectors, the vectors in force."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.embeddings.encoders import EncoderSpec, load_encoder
from vlm4rec_spark.embeddings.texts import text_of, text_sha256
from vlm4rec_spark.tables import EMBEDDINGS, ITEM_VECTORS, Column, TableSpec

if TYPE_CHECKING:
    from pyspark.sql import Column as SparkColumn
    from pyspark.sql import DataFrame

ITEM_TEXTS = TableSpec(
    "item_texts",
    (
        Column("item_id", pa.string(), "Item", nullable=False),
        Column("space", pa.string(), "Text variant", nullable=False),
        Column("text", pa.string(), "The text; null where there is none"),
        Column("text_sha256", pa.string(), "Hash of the text"),
    ),
    ("item_id", "space"),
    ("item_id", "space"),
    (),
    "Working table of the catalog job: the texts of the last run",
)
TEXTS_A_TASK = 2048
"""Some seconds of a small encoder on one core, so that loading it stays a small part."""
TEXTS_A_SLICE = 500_000
NO_TEXT = "no text: the item has no description or title to embed"
NO_VECTOR = "the encoder gives no usable vector for the text"


def item_texts(items: DataFrame, descriptions: DataFrame, variants: tuple[str, ...]) -> DataFrame:
    """Return rows of `ITEM_TEXTS`: one per item and variant."""
    values = F.transform_values("attributes", lambda _, attribute: attribute["value"])
    described = descriptions.where("status = 'ok'").select(
        "request_key", "description", F.map_entries(values).alias("words")
    )
    rows = items.select("item_id", "title", "request_key").join(described, "request_key", "left")
    return rows.select("item_id", "title", "description", "words").mapInArrow(
        _texts(variants), ITEM_TEXTS.spark_ddl()
    )


def _texts(
    variants: tuple[str, ...],
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = ITEM_TEXTS.arrow_schema()

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = []
            for row in batch.to_pylist():
                words = {entry["key"]: entry["value"] for entry in row["words"] or ()}
                for variant in variants:
                    text = text_of(variant, row["title"], row["description"], words)
                    rows.append(
                        {
                            "item_id": row["item_id"],
                            "space": variant,
                            "text": text,
                            "text_sha256": text_sha256(text) if text else None,
                        }
                    )
            yield pa.RecordBatch.from_pylist(rows, schema=schema)

    return build


def pending(texts: DataFrame, embeddings: DataFrame, encoder: str) -> DataFrame:
    """Return text_sha256, text: each text once that this encoder has not seen."""
    known = embeddings.where(F.col("encoder") == encoder).select("text_sha256")
    wanted = texts.where("text IS NOT NULL").select("text_sha256", "text")
    return wanted.dropDuplicates(["text_sha256"]).join(known, "text_sha256", "left_anti")


def in_slice(number: int, slices: int) -> SparkColumn:
    """Return whether a text belongs to a slice; slices are committed one by one."""
    return F.expr(f"pmod(xxhash64(text_sha256), {slices}) = {number}")


def encoded(rows: DataFrame, spec: EncoderSpec, tasks: int) -> DataFrame:
    """Return rows of `embeddings`; texts without a usable vector are left out."""
    return rows.repartition(tasks).mapInArrow(_vectors(spec), EMBEDDINGS.spark_ddl())


def _vectors(
    spec: EncoderSpec,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = EMBEDDINGS.arrow_schema()

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            texts = batch.column("text").to_pylist()
            vectors = load_encoder(spec).encode(texts)
            usable: list[bool] = np.isfinite(vectors).all(axis=1).tolist()
            hashes = batch.column("text_sha256").filter(pa.array(usable))
            flat = pa.array(vectors[usable].ravel(), pa.float32())
            offsets = np.arange(len(hashes) + 1, dtype=np.int32) * vectors.shape[1]
            words = [len(text.split()) for text, good in zip(texts, usable, strict=True) if good]
            columns = {
                "text_sha256": hashes,
                "encoder": pa.array([spec.name] * len(hashes), pa.string()),
                "vector": pa.ListArray.from_arrays(pa.array(offsets), flat),
                "n_words": pa.array(words, pa.int32()),
            }
            arrays = [columns[name].cast(schema.field(name).type) for name in schema.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return build


def item_vectors(
    texts: DataFrame, embeddings: DataFrame, in_force: DataFrame, encoder: str
) -> DataFrame:
    """Return the rows of `item_vectors` that are new or whose text or encoder changed.

    Only their vectors travel; an item without a text, or whose text has no vector, is an error
    row with a null vector.
    """
    settled = in_force.where((F.col("encoder") == encoder) & (F.col("status") == "ok")).select(
        "item_id", "space", "text_sha256"
    )
    changed = texts.join(settled, ["item_id", "space", "text_sha256"], "left_anti")
    known = embeddings.where(F.col("encoder") == encoder).select("text_sha256", "vector")
    # Two runs at a time may both have embedded a text: one vector of it is enough.
    rows = changed.join(known, "text_sha256", "left").dropDuplicates(["item_id", "space"])
    good = F.col("vector").isNotNull()
    why = F.when(~good, F.when(F.col("text").isNull(), NO_TEXT).otherwise(NO_VECTOR))
    return rows.select(
        "item_id",
        "space",
        "text_sha256",
        F.lit(encoder).alias("encoder"),
        "vector",
        F.when(good, "ok").otherwise("error").alias("status"),
        why.alias("message"),
    ).select(*ITEM_VECTORS.column_names)

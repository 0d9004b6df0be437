"""Frames in, frames out: the texts of the items, their vectors, the vectors in force."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.descriptions.plan import sure_words
from vlm4rec_spark.embeddings.encoders import EncoderSpec, load_encoder
from vlm4rec_spark.embeddings.texts import text_of, text_sha256
from vlm4rec_spark.spread import spread
from vlm4rec_spark.tables import EMBEDDINGS, ITEM_VECTORS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ITEM_TEXTS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("space", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("text_sha256", pa.string()),
    ]
)
"""One row per item and variant; text and hash are null where there is nothing to embed."""
TEXTS_DDL = "item_id STRING, space STRING, text STRING, text_sha256 STRING"
TEXTS_A_TASK = 1024
"""Some seconds of a small encoder on one core, so that loading it stays a small part."""
TEXTS_A_SLICE = 500_000
NO_TEXT = "no text: the item has no description or title to embed"
NO_VECTOR = "the encoder gives no usable vector for the text"


def item_texts(
    items: DataFrame,
    descriptions: DataFrame,
    variants: tuple[str, ...],
    min_confidence: float,
) -> DataFrame:
    """Return rows of `ITEM_TEXTS`: one per item and variant.

    Args:
        items: the catalogue.
        descriptions: of its requests.
        variants: some of `texts.VARIANTS`.
        min_confidence: attributes of which the model was less sure are left out.
    """
    words = F.map_entries(sure_words("attributes", min_confidence))
    described = descriptions.where("status = 'ok'").select(
        "request_key", "description", words.alias("words")
    )
    rows = items.select("item_id", "title", "request_key").join(described, "request_key", "left")
    return rows.select("item_id", "title", "description", "words").mapInArrow(
        _texts(variants), TEXTS_DDL
    )


def _texts(
    variants: tuple[str, ...],
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
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
            yield pa.RecordBatch.from_pylist(rows, schema=ITEM_TEXTS)

    return build


def pending(texts: DataFrame, embeddings: DataFrame, encoder: str) -> DataFrame:
    """Return text_sha256, text: each text once that this encoder has not seen."""
    known = embeddings.where(F.col("encoder") == encoder).select("text_sha256")
    return _distinct(texts).join(known, "text_sha256", "left_anti")


def text_counts(texts: DataFrame, embeddings: DataFrame, encoder: str) -> DataFrame:
    """Return one row: n_texts (different ones), n_pending (those this encoder has not seen)."""
    known = embeddings.where(F.col("encoder") == encoder).select("text_sha256").distinct()
    marked = _distinct(texts).join(known.withColumn("known", F.lit(1)), "text_sha256", "left")
    return marked.agg(
        F.count("*").alias("n_texts"), F.expr("count_if(known IS NULL)").alias("n_pending")
    )


def _distinct(texts: DataFrame) -> DataFrame:
    wanted = texts.where("text IS NOT NULL").select("text_sha256", "text")
    return wanted.dropDuplicates(["text_sha256"])


def in_slice(number: int, slices: int) -> Column:
    """Return whether a text belongs to a slice; slices are committed one by one."""
    return F.expr(f"pmod(xxhash64(text_sha256), {slices}) = {number}")


def encoded(rows: DataFrame, spec: EncoderSpec, tasks: int) -> DataFrame:
    """Return rows of `embeddings`; texts without a usable vector are left out."""
    return spread(rows, tasks, "text_sha256").mapInArrow(_vectors(spec), EMBEDDINGS.spark_ddl())


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
            usable: list[bool] = np.asarray(np.isfinite(vectors).all(axis=1)).tolist()
            hashes = batch.column("text_sha256").filter(pa.array(usable))
            flat = pa.array(vectors[usable].ravel(), pa.float32())
            offsets = np.arange(len(hashes) + 1, dtype=np.int32) * vectors.shape[1]
            words = [len(text.split()) for text, good in zip(texts, usable, strict=True) if good]
            columns = {
                "text_sha256": hashes,
                "encoder": pa.array([spec.identity] * len(hashes), pa.string()),
                "vector": pa.ListArray.from_arrays(pa.array(offsets), flat),
                "n_words": pa.array(words, pa.int32()),
            }
            arrays = [columns[name].cast(schema.field(name).type) for name in schema.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return build


def item_vectors(
    texts: DataFrame, embeddings: DataFrame, in_force: DataFrame, encoder: str
) -> DataFrame:
    """Return the rows of `item_vectors` whose text or encoder is new, and every error row.

    Only the vectors of changed rows travel; an item without a text, or whose text has no usable
    vector, is an error row with a null vector.
    """
    settled = in_force.where((F.col("encoder") == encoder) & (F.col("status") == "ok")).select(
        "item_id", "space", "text_sha256"
    )
    changed = texts.join(settled, ["item_id", "space", "text_sha256"], "left_anti")
    known = embeddings.where(F.col("encoder") == encoder).select("text_sha256", "vector")
    # Inner, so that Spark may send few changed rows to the vectors instead of the reverse. Two
    # runs at a time may both have embedded a text: one vector of it is enough. The text is among
    # the keys because rows that were joined by it need not travel again.
    good = changed.join(known, "text_sha256").dropDuplicates(["text_sha256", "item_id", "space"])
    bad = changed.join(known.select("text_sha256"), "text_sha256", "left_anti")
    why = F.when(F.col("text").isNull(), NO_TEXT).otherwise(NO_VECTOR)
    rows = good.withColumns({"status": F.lit("ok"), "message": F.lit(None).cast("string")})
    errors = bad.withColumns({"vector": F.lit(None).cast("array<float>"), "status": F.lit("error")})
    everything = rows.unionByName(errors.withColumn("message", why))
    return everything.withColumn("encoder", F.lit(encoder)).select(*ITEM_VECTORS.column_names)


def still_wanted(texts: DataFrame, in_force: DataFrame) -> DataFrame:
    """Return the rows of `item_vectors` whose item and variant are still there."""
    keys = list(ITEM_VECTORS.key)
    return in_force.join(texts.select(*keys), keys, "left_semi").select(*in_force.columns)

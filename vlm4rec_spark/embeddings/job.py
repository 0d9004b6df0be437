"""The embed stage: reads items and descriptions, writes `embeddings` and `item_vectors`."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

from pyspark.sql import functions as sf

from vlm4rec_spark import delta
from vlm4rec_spark.embeddings import plan
from vlm4rec_spark.embeddings.encoders import EncoderSpec, encoder_spec
from vlm4rec_spark.runs import RunContext, RunReport
from vlm4rec_spark.tables import DESCRIPTIONS, EMBEDDINGS, ITEM_VECTORS, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

logger = logging.getLogger(__name__)


def run(context: RunContext) -> RunReport:
    """Embed the texts this encoder has not seen, and bring `item_vectors` in step.

    Returns:
        counts: texts (different ones), reused, encoded, failed (item texts without a vector),
            vectors_changed (rows of `item_vectors` written).

    Raises:
        EngineError: the encoder cannot be loaded.
        MissingExtraError: sentence-transformers, or the demo's encoder, is not installed.
    """
    started = time.monotonic()
    spec = encoder_spec(context.config)
    texts = _stage_texts(context)
    wanted = _distinct(texts)
    to_encode = plan.pending(texts, _embeddings(context), spec.name).count()
    encoding = time.monotonic()
    if to_encode:
        _encode(context, texts, spec, to_encode)
    encoding = time.monotonic() - encoding
    still_missing = plan.pending(texts, _embeddings(context), spec.name).count()
    changed = _put_in_force(context, texts, spec)
    failed = _failed(context)
    counts = {
        "texts": wanted,
        "reused": wanted - to_encode,
        "encoded": to_encode - still_missing,
        "failed": failed,
        "vectors_changed": changed,
    }
    if failed:
        logger.warning("%d item texts have no vector; item_vectors.message says why", failed)
    seconds = time.monotonic() - started
    figures = {"texts_per_s": counts["encoded"] / max(encoding, 1e-9)}
    share = f"encoding took {encoding / max(seconds, 1e-9):.0%} of the time"
    return RunReport("embeddings", counts, figures, seconds, share)


def _embeddings(context: RunContext) -> DataFrame:
    return delta.read(context.spark, EMBEDDINGS, context.names)


def _stage_texts(context: RunContext) -> DataFrame:
    """Write the texts to a working table, so that they are made once; return it."""
    spark, names = context.spark, context.names
    texts = plan.item_texts(
        delta.read(spark, ITEMS, names),
        delta.read(spark, DESCRIPTIONS, names),
        context.config.embed.texts,
    )
    staged = delta.read(spark, plan.ITEM_TEXTS, names)  # made where it is missing
    qualified = names.qualified(plan.ITEM_TEXTS)
    texts.select(*staged.columns).writeTo(qualified).overwrite(sf.lit(True))
    return spark.table(qualified)


def _distinct(texts: DataFrame) -> int:
    row = texts.agg(sf.countDistinct("text_sha256").alias("n")).first()
    return int(row["n"]) if row else 0


def _encode(context: RunContext, texts: DataFrame, spec: EncoderSpec, n: int) -> None:
    """Append the vectors slice by slice: a crash costs one slice at most."""
    slices = -(-n // plan.TEXTS_A_SLICE)
    tasks = -(-n // (slices * plan.TEXTS_A_TASK))
    # Not the run id alone: a run repeated under its id may have new texts in a slice.
    app_id = f"vlm4rec-embed-{context.run_id}-{uuid.uuid4().hex[:8]}"
    for number in range(slices):
        todo = plan.pending(texts, _embeddings(context), spec.name)
        rows = plan.encoded(todo.where(plan.in_slice(number, slices)), spec, tasks)
        delta.append_once(rows, EMBEDDINGS, context.names, app_id, number)
        logger.info("slice %d of %d of the embeddings is committed", number + 1, slices)


def _put_in_force(context: RunContext, texts: DataFrame, spec: EncoderSpec) -> int:
    in_force = delta.read(context.spark, ITEM_VECTORS, context.names)
    rows = plan.item_vectors(texts, _embeddings(context), in_force, spec.name)
    return delta.merge_on_key(context.spark, rows, ITEM_VECTORS, context.names).changed


def _failed(context: RunContext) -> int:
    vectors = delta.read(context.spark, ITEM_VECTORS, context.names)
    spaces = list(context.config.embed.texts)
    return vectors.where(sf.col("space").isin(spaces) & (sf.col("status") == "error")).count()

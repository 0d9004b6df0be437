"""The embed stage: reads items and descriptions, writes `embeddings` and `item_vectors`."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

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
        counts: texts (different ones), reused, encoded; of `item_vectors`: vectors (ok rows),
            empty (items without the text), failed (texts the encoder gives no vector for),
            changed (rows written). figures: texts_per_s, over the time spent encoding.

    Raises:
        EngineError: the encoder cannot be loaded.
        MissingExtraError: sentence-transformers, or the demo's encoder, is not installed.
    """
    started = time.monotonic()
    spec = encoder_spec(context.config)
    texts = _texts(context)
    wanted, to_encode = _text_counts(context, texts, spec)
    encoding_started = time.monotonic()
    if to_encode:
        encode(context, texts, spec, to_encode)
    encoding = time.monotonic() - encoding_started
    changed = _put_in_force(context, texts, spec)
    counts = {
        "texts": wanted,
        "reused": wanted - to_encode,
        "encoded": to_encode,
        **_vector_counts(context),
        "changed": changed,
    }
    if counts["failed"]:
        logger.warning("%d item texts got no vector; item_vectors names them", counts["failed"])
    seconds = time.monotonic() - started
    figures = {"texts_per_s": to_encode / encoding if to_encode else 0.0}
    return RunReport(
        "embeddings", counts, figures, seconds, _bottleneck(to_encode, encoding, seconds)
    )


def _texts(context: RunContext) -> DataFrame:
    spark, names = context.spark, context.names
    items, descriptions = (delta.read(spark, spec, names) for spec in (ITEMS, DESCRIPTIONS))
    config = context.config
    return plan.item_texts(items, descriptions, config.embed.texts, config.describe.min_confidence)


def _embeddings(context: RunContext) -> DataFrame:
    return delta.read(context.spark, EMBEDDINGS, context.names)


def _text_counts(context: RunContext, texts: DataFrame, spec: EncoderSpec) -> tuple[int, int]:
    """Return the numbers of different texts and of those that are to be encoded."""
    row = plan.text_counts(texts, _embeddings(context), spec.identity).first()
    return (row["n_texts"], row["n_pending"]) if row else (0, 0)


def encode(context: RunContext, texts: DataFrame, spec: EncoderSpec, n_texts: int) -> None:
    """Append the vectors slice by slice: a crash costs one slice at most."""
    slices = -(-n_texts // plan.TEXTS_A_SLICE)
    tasks = -(-n_texts // (slices * plan.TEXTS_A_TASK))
    # Not the run id alone: a run repeated under its id may have new texts in a slice.
    app_id = f"vlm4rec-embed-{context.run_id}-{uuid.uuid4().hex[:8]}"
    for number in range(slices):
        todo = plan.pending(texts, _embeddings(context), spec.identity)
        rows = plan.encoded(todo.where(plan.in_slice(number, slices)), spec, tasks)
        delta.append_once(rows, EMBEDDINGS, context.names, app_id, number)
        logger.info("Slice %d of %d of the embeddings is committed.", number + 1, slices)


def _put_in_force(context: RunContext, texts: DataFrame, spec: EncoderSpec) -> int:
    """Write what changed, then delete what is left over; return the number of rows."""
    spark, names = context.spark, context.names
    in_force = delta.read(spark, ITEM_VECTORS, names)
    rows = plan.item_vectors(texts, _embeddings(context), in_force, spec.identity)
    changed = delta.merge_on_key(spark, rows, ITEM_VECTORS, names).changed
    # Each item has a row of each variant now. Counting asks the tables' logs alone; a merge of
    # everything would move every vector at every run.
    variants = set(context.config.embed.texts)
    n_wanted = delta.read(spark, ITEMS, names).count() * len(variants)
    in_force = delta.read(spark, ITEM_VECTORS, names)
    if in_force.count() > n_wanted:
        kept = plan.still_wanted(texts, in_force)
        changed += delta.merge_on_key(spark, kept, ITEM_VECTORS, names, delete_missing=True).changed
    return changed


def _vector_counts(context: RunContext) -> dict[str, int]:
    row = (
        delta.read(context.spark, ITEM_VECTORS, context.names)
        .agg(
            F.expr("count_if(status = 'ok')").alias("vectors"),
            F.expr("count_if(status = 'error' AND text_sha256 IS NULL)").alias("empty"),
            F.expr("count_if(status = 'error' AND text_sha256 IS NOT NULL)").alias("failed"),
        )
        .first()
    )
    return row.asDict() if row else {"vectors": 0, "empty": 0, "failed": 0}


def _bottleneck(encoded: int, encoding: float, seconds: float) -> str:
    if not encoded:
        return "nothing to encode"
    if encoding > seconds / 2:
        return f"the encoder: {encoding / seconds:.0%} of the time went into {encoded} texts"
    return "finding out what to encode and writing it"

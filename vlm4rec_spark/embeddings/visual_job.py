"""Embed the pictures that no run has embedded; cached in `embeddings` by picture and model."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.catalog.fetch import FetchSpec, read_picture
from vlm4rec_spark.catalog.images import PictureError, prepare
from vlm4rec_spark.descriptions.job import source_pictures
from vlm4rec_spark.descriptions.plan import primary_pictures
from vlm4rec_spark.embeddings.visual import VisualSpec, load_visual
from vlm4rec_spark.spread import spread
from vlm4rec_spark.tables import EMBEDDINGS, IMAGES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)
SIDE = 448
"""Longest side in pixels of what the model is given; it makes its own size of it."""
PICTURES_A_TASK = 256


def picture_contents(context: RunContext) -> DataFrame:
    """Return item_id, sha256, uri, content: the usable primary picture of every item."""
    images = delta.read(context.spark, IMAGES, context.names)
    pictures = primary_pictures(images, 1, source_pictures(context, images))
    return pictures.select("item_id", F.expr("inline(pictures)")).select(
        "item_id", "sha256", "uri", "content"
    )


def embed_pictures(context: RunContext, spec: VisualSpec) -> int:
    """Append the vectors of pictures this model has not seen; return how many there were.

    A picture that cannot be read any more gets none, and is tried again by the next run.
    """
    known = delta.read(context.spark, EMBEDDINGS, context.names).where(
        F.col("encoder") == spec.identity
    )
    images = delta.read(context.spark, IMAGES, context.names)
    wanted = images.where("status = 'ok' AND position = 0").select("sha256").distinct()
    pending = wanted.join(known.select(F.col("text_sha256").alias("sha256")), "sha256", "left_anti")
    missing = pending.count()
    if missing:
        logger.info("embedding %d pictures by %s", missing, spec.identity)
        pictures = picture_contents(context).dropDuplicates(["sha256"])
        todo = pictures.join(pending, "sha256", "left_semi")
        tasks = max(context.config.describe.tasks, -(-missing // PICTURES_A_TASK))
        rows = spread(todo, tasks, "sha256").mapInArrow(
            _vectors(spec, FetchSpec.of(context.config.images)), EMBEDDINGS.spark_ddl()
        )
        app_id = f"vlm4rec-visual-{context.run_id}-{uuid.uuid4().hex[:8]}"
        delta.append_once(rows, EMBEDDINGS, context.names, app_id, 0)
    return missing


def visual_vectors(context: RunContext, spec: VisualSpec) -> DataFrame:
    """Return item_id, vector of the items whose picture has been embedded."""
    known = delta.read(context.spark, EMBEDDINGS, context.names).where(
        F.col("encoder") == spec.identity
    )
    hashes = delta.read(context.spark, IMAGES, context.names).where(
        "status = 'ok' AND position = 0"
    )
    found = hashes.select("item_id", F.col("sha256").alias("text_sha256"))
    return found.join(known, "text_sha256").select("item_id", "vector").dropDuplicates(["item_id"])


def _vectors(
    spec: VisualSpec, fetch: FetchSpec
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = EMBEDDINGS.arrow_schema()

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = batch.to_pylist()
            for start in range(0, len(rows), spec.batch_size):
                part = rows[start : start + spec.batch_size]
                read = [(row["sha256"], prepared(row, fetch, SIDE)) for row in part]
                good = [(sha256, jpeg) for sha256, jpeg in read if jpeg is not None]
                if not good:
                    continue
                vectors = load_visual(spec).encode([jpeg for _, jpeg in good])
                found = [
                    {"text_sha256": sha256, "encoder": spec.identity, "vector": vector.tolist()}
                    for (sha256, _), vector in zip(good, vectors, strict=True)
                    if np.isfinite(vector).all()
                ]
                yield from pa.Table.from_pylist(found, schema=schema).to_batches()

    return build


def prepared(row: dict[str, object], fetch: FetchSpec, side: int) -> bytes | None:
    """Return the picture of a row of `picture_contents` as a JPEG; None where it cannot be read."""
    content, uri = row["content"], row["uri"]
    source = content if isinstance(content, bytes) else str(uri)
    try:
        return prepare(read_picture(fetch, source), side, fetch.limits)
    except PictureError as error:
        logger.warning("a picture is left out: %s", error)
        return None

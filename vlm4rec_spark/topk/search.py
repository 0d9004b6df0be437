"""Free text over the item vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.descriptions.plan import sure_words
from vlm4rec_spark.embeddings.encoders import encode_texts, encoder_spec
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.tables import DESCRIPTIONS, IMAGES, ITEMS
from vlm4rec_spark.topk.engines import chosen_engine
from vlm4rec_spark.topk.lists import best_rows, searcher_of
from vlm4rec_spark.topk.snapshot import load_snapshot
from vlm4rec_spark.topk.snapshot_job import take_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext


def search(context: RunContext, text: str, k: int) -> DataFrame:
    """Return the k available items nearest to a sentence, best first.

    Columns: rank, item_id, score, title, uri, attributes (map, visible ones only).

    Raises:
        SourceError: no item has a vector yet, or they come from another encoder.
    """
    snapshot = load_snapshot(take_snapshot(context))
    encoder = encoder_spec(context.config)
    if encoder.identity != snapshot.encoder:
        raise SourceError(
            f"The items were embedded by {snapshot.encoder}, the configuration names "
            f"{encoder.identity}; run the catalog job, or set embed.model back."
        )
    query = encode_texts(encoder, [text])[0]
    engine = chosen_engine(context.config.topk.engine)
    found = searcher_of(snapshot, engine).nearest(query[None, :], k)[0]
    best, scores = best_rows(snapshot, query, np.sort(snapshot.available[found]), k)
    spark, names = context.spark, context.names
    hits = spark.createDataFrame(
        [
            (rank, str(snapshot.ids[row]), float(score))
            for rank, (row, score) in enumerate(zip(best, scores, strict=True), start=1)
        ],
        "rank INT, item_id STRING, score DOUBLE",
    )
    items = delta.read(spark, ITEMS, names).select("item_id", "title", "request_key")
    pictures = delta.read(spark, IMAGES, names).where("position = 0").select("item_id", "uri")
    words = sure_words("attributes", context.config.describe.min_confidence)
    described = delta.read(spark, DESCRIPTIONS, names).select(
        "request_key", words.alias("attributes")
    )
    return (
        F.broadcast(hits)
        .join(items, "item_id", "left")
        .join(pictures, "item_id", "left")
        .join(described, "request_key", "left")
        .select("rank", "item_id", "score", "title", "uri", "attributes")
        .orderBy("rank")
    )

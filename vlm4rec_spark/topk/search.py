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
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.facts_job import meets, parsed
from vlm4rec_spark.topk.ranking import ranked
from vlm4rec_spark.topk.snapshot import load_snapshot
from vlm4rec_spark.topk.snapshot_job import take_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext


def search(context: RunContext, text: str, k: int, where: str | None = None) -> DataFrame:
    """Return the k available items nearest to a sentence, best first.

    Columns: rank, item_id, score, title, uri, attributes (map, visible ones only).

    Args:
        context: the run.
        text: the sentence.
        k: items wanted.
        where: condition that every item meets, as in `topk.rules`.

    Raises:
        ConfigError: the condition is wrong.
        SourceError: no item has a vector yet, or they come from another encoder.
    """
    rule = parsed(context.config, [where], "where") if where else ()
    snapshot = load_snapshot(take_snapshot(context))
    encoder = encoder_spec(context.config)
    if encoder.identity != snapshot.encoder:
        raise SourceError(
            f"The items were embedded by {snapshot.encoder}, the configuration names "
            f"{encoder.identity}; run the catalog job, or set embed.model back."
        )
    query = snapshot.placed(encode_texts(encoder, [text]))
    allowed = snapshot.allowed & meets(context, snapshot, rule)
    masks = Masks(np.zeros(0, np.int64), np.zeros(2, np.int64), allowed, np.zeros(1, np.int64))
    found = ranked(snapshot, ExactEngine(snapshot.vectors), query, k, masks)
    best, scores = found.rows[0][found.rows[0] >= 0], found.scores[0]
    spark, names = context.spark, context.names
    hits = spark.createDataFrame(
        [
            (rank, snapshot.ids[int(row)].as_py(), float(score))
            for rank, (row, score) in enumerate(zip(best, scores, strict=False), start=1)
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

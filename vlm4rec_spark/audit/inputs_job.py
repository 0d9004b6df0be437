"""Bring what an audit looks at to the driver: items, vectors, co-interaction, small pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.audit import plan
from vlm4rec_spark.audit.items import Items
from vlm4rec_spark.audit.neighbours import NONE, Ints, Vectors
from vlm4rec_spark.catalog.fetch import FetchSpec
from vlm4rec_spark.embeddings.encoders import encoder_spec, unit_rows
from vlm4rec_spark.embeddings.job import encode
from vlm4rec_spark.embeddings.matrix import as_matrix
from vlm4rec_spark.embeddings.plan import item_texts, pending
from vlm4rec_spark.embeddings.visual import visual_spec
from vlm4rec_spark.embeddings.visual_job import embed_pictures, picture_contents, visual_vectors
from vlm4rec_spark.errors import MissingExtraError, SourceError
from vlm4rec_spark.evaluation.plan import vectors_of
from vlm4rec_spark.profiles.job import judged_events
from vlm4rec_spark.tables import DESCRIPTIONS, EMBEDDINGS, ITEMS
from vlm4rec_spark.topk.landing import landed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)
TEXT_SPACES = ("title", "caption")


def read_items(context: RunContext) -> Items:
    """Return the items of the audit, sorted by id.

    Raises:
        SourceError: the catalogue is empty.
    """
    items, descriptions = (
        delta.read(context.spark, spec, context.names) for spec in (ITEMS, DESCRIPTIONS)
    )
    table = plan.facts(items, descriptions, context.config.audit.most_items).toArrow()
    if not len(table):
        raise SourceError("There are no items; run the catalog job first.")
    order = np.argsort(np.asarray(table["item_id"].to_pylist(), dtype=np.str_), kind="stable")
    return Items(table.take(pa.array(order)))


def read_spaces(context: RunContext, items: Items) -> dict[str, Vectors]:
    """Return space -> (n, d) unit rows, NaN where an item has none: picture, title, caption."""
    stored, descriptions = (
        delta.read(context.spark, spec, context.names) for spec in (ITEMS, DESCRIPTIONS)
    )
    sure = context.config.describe.min_confidence
    texts = item_texts(stored, descriptions, TEXT_SPACES, sure).where("text IS NOT NULL")
    texts = landed(context, texts, "audit-texts")
    spec = encoder_spec(context.config)
    missing = pending(texts, _embeddings(context), spec.identity).count()
    if missing:
        encode(context, texts, spec, missing)
    vectors = vectors_of(texts, _embeddings(context), spec.identity)
    spaces = {"picture": _matrix(_pictures(context), items)}
    for space in TEXT_SPACES:
        spaces[space] = _matrix(vectors.where(F.col("space") == space), items)
    return spaces


def _embeddings(context: RunContext) -> DataFrame:
    return delta.read(context.spark, EMBEDDINGS, context.names)


def _pictures(context: RunContext) -> DataFrame:
    """Return item_id, vector of the pictures; none without the vision model."""
    try:
        spec = visual_spec(context.config)
        embed_pictures(context, spec)
        return visual_vectors(context, spec)
    except MissingExtraError as error:
        logger.warning("no neighbours by picture: %s", error)
        return context.spark.createDataFrame([], "item_id STRING, vector ARRAY<FLOAT>")


def _matrix(vectors: DataFrame, items: Items) -> Vectors:
    found = vectors.select("item_id", "vector").where("vector IS NOT NULL").toArrow()
    place = items.rows_of(found["item_id"].to_pylist())
    if not len(found):
        return np.full((len(items), 1), np.nan, np.float32)
    rows = unit_rows(as_matrix(found["item_id"], found["vector"]))
    whole = np.full((len(items), rows.shape[1]), np.nan, np.float32)
    whole[place[place != NONE]] = rows[place != NONE]
    return whole


def read_taken_together(context: RunContext, items: Items, probes: Ints, k: int) -> Ints:
    """Return the neighbours of the probes by co-interaction, (probes, k)."""
    frame = context.spark.createDataFrame
    known = frame(pa.table({"item_id": items.ids}))
    asked = frame(pa.table({"item_id": [items.ids[row] for row in probes]}))
    rows = plan.taken_together(judged_events(context), asked, known, k).collect()
    found = np.full((len(probes), k), NONE, np.int64)
    place = {items.ids[row]: n for n, row in enumerate(probes)}
    for row in rows:
        number = items.rows_of([row["item_id"]])[0]
        found[place[row["target_item_id"]], row["rank"] - 1] = number
    return found


def read_thumbnails(context: RunContext, items: Items, rows: Ints) -> dict[int, bytes]:
    """Return row -> small JPEG of the items that have a readable picture."""
    wanted = [items.ids[row] for row in np.unique(rows)]
    small = thumbnails(context, wanted)
    return {int(n): small[items.ids[n]] for n in items.rows_of(list(small))}


def thumbnails(context: RunContext, item_ids: Sequence[str]) -> dict[str, bytes]:
    """Return item id -> small JPEG of the items that have a readable picture."""
    wanted = delta.ids_frame(context.spark, pa.array(sorted(set(item_ids)), pa.string()))
    pictures = picture_contents(context).join(wanted, "item_id", "left_semi")
    small = plan.thumbnails(pictures, FetchSpec.of(context.config.images)).collect()
    return {row["item_id"]: bytes(row["jpeg"]) for row in small}

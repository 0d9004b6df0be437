"""Bring the vectors of every space into the folder of a catalogue, all from one encoder."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.descriptions.plan import sure_words
from vlm4rec_spark.embeddings.encoders import EncoderSpec, encoder_spec, unit_rows
from vlm4rec_spark.embeddings.job import encode
from vlm4rec_spark.embeddings.matrix import as_matrix
from vlm4rec_spark.embeddings.plan import item_texts, pending
from vlm4rec_spark.embeddings.texts import VARIANTS
from vlm4rec_spark.embeddings.visual import visual_spec
from vlm4rec_spark.embeddings.visual_job import embed_pictures, visual_vectors
from vlm4rec_spark.errors import EvaluationError, MissingExtraError
from vlm4rec_spark.evaluation import plan
from vlm4rec_spark.evaluation.catalogue import Catalogue, save_array
from vlm4rec_spark.evaluation.misaligned_job import misaligned_texts
from vlm4rec_spark.evaluation.sources_job import read_columns
from vlm4rec_spark.tables import DESCRIPTIONS, EMBEDDINGS, IMAGES, ITEMS
from vlm4rec_spark.topk.landing import landed

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)
ALWAYS = ("title", "caption")
"""Diversity is measured in them, controls and fusions are made from them."""
CONTROLS = ("shuffled", "random")
CONTROL_DRAWS = 3
"""A single draw may be lucky: its interval is over users, not over draws."""
FUSED, FUSED_SPACES = "concat", ("title", "visual")
"""The late fusions are of titles and pictures: what a shop has without any description."""
RANDOM_DIMENSIONS = 384


def write_spaces(context: RunContext, catalogue: Catalogue) -> dict[str, int]:
    """Write `space-NAME.npy` for every arm that ranks by vectors.

    Texts of all arms go through one encoder and its cache; what is missing is encoded.

    Returns:
        Space -> number of items with a vector; 0 where the tables hold nothing for it.
    """
    config = context.config.evaluate
    texts = landed(context, item_space_texts(context), "evaluation-texts")
    spec = encoder_spec(context.config)
    _encode_missing(context, texts, spec)
    embeddings = delta.read(context.spark, EMBEDDINGS, context.names)
    vectors = plan.vectors_of(texts, embeddings, spec.identity)
    counts = {}
    for space in text_spaces(context):
        counts[space] = _save(catalogue, space, vectors.where(F.col("space") == space))
    for source in config.sources:
        if source.holds == "vectors":
            counts[source.name] = _save(catalogue, source.name, read_columns(context, source))
    counts["visual"] = _save_visual(context, catalogue)
    for control in CONTROLS:
        for space in control_names(control):
            counts[space] = _save_control(catalogue, control, space, config.seed)
    save_array(catalogue.folder, f"space-{FUSED}", _joined(catalogue, *FUSED_SPACES))
    counts[FUSED] = min(counts[space] for space in FUSED_SPACES)
    logger.info("vectors per space, of %d items: %s", len(catalogue.items), counts)
    return counts


def text_spaces(context: RunContext) -> list[str]:
    """Return the spaces made of text that some arm, or the report, needs; no other is encoded."""
    config = context.config
    needed = {*config.evaluate.arms, *ALWAYS, config.embed.serve_space}
    known = [space for space in (*VARIANTS, *plan.MORE_TEXTS) if space in needed]
    return known + [s.name for s in config.evaluate.sources if s.holds == "texts"]


def item_space_texts(context: RunContext) -> DataFrame:
    """Return item_id, space, text, text_sha256 of all arms that are texts."""
    items, descriptions, images = (
        delta.read(context.spark, spec, context.names) for spec in (ITEMS, DESCRIPTIONS, IMAGES)
    )
    wanted = text_spaces(context)
    variants = tuple(space for space in VARIANTS if space in wanted)
    sure = context.config.describe.min_confidence
    texts = item_texts(items, descriptions, variants, sure).where("text IS NOT NULL")
    asked_again = misaligned_texts(context) if "misaligned" in wanted else None
    more = [space for space in wanted if space != "misaligned" or asked_again is None]
    texts = texts.select("item_id", "space", "text").unionByName(
        plan.more_texts(items, images).where(F.col("space").isin(more))
    )
    if asked_again is not None:
        texts = texts.unionByName(asked_again)
    for source in context.config.evaluate.sources:
        if source.holds == "texts":
            own = read_columns(context, source).where("trim(text) <> ''")
            texts = texts.unionByName(
                own.select("item_id", F.lit(source.name).alias("space"), "text")
            )
    return plan.with_hashes(texts)


def read_words(context: RunContext, catalogue: Catalogue) -> pa.MapArray:
    """Bring what was described of each item to the driver, in the rows of the catalogue.

    As in the item matrix: what is visible, and what the model was sure enough of.
    """
    items, descriptions = (
        delta.read(context.spark, spec, context.names) for spec in (ITEMS, DESCRIPTIONS)
    )
    words = sure_words("attributes", context.config.describe.min_confidence)
    described = descriptions.select("request_key", words.alias("words"))
    table = items.join(described, "request_key", "left").select("item_id", "words").toArrow()
    found = pc.index_in(catalogue.items["item_id"], value_set=table["item_id"].combine_chunks())
    return table["words"].combine_chunks().take(found.combine_chunks())


def _encode_missing(context: RunContext, texts: DataFrame, spec: EncoderSpec) -> None:
    embeddings = delta.read(context.spark, EMBEDDINGS, context.names)
    missing = pending(texts, embeddings, spec.identity).count()
    if missing:
        logger.info("encoding %d texts that no run has encoded", missing)
        encode(context, texts, spec, missing)


def _save(catalogue: Catalogue, space: str, vectors: DataFrame) -> int:
    """Write a space from item_id, vector; unit rows, NaN where an item has none."""
    table = vectors.select("item_id", F.col("vector").cast("array<float>").alias("vector"))
    found = table.where("vector IS NOT NULL AND size(vector) > 0").toArrow()
    rows = catalogue.rows_of(found["item_id"])
    sizes = set(pc.unique(pc.list_value_length(found["vector"])).to_pylist()) or {1}
    if len(sizes) > 1:
        raise EvaluationError(f"The vectors of '{space}' have several lengths: {sorted(sizes)}.")
    whole = np.full((len(catalogue.items), sizes.pop()), np.nan, np.float32)
    if len(found):
        matrix = as_matrix(found["item_id"], found["vector"])
        whole[rows[rows >= 0]] = unit_rows(matrix)[rows >= 0]
    save_array(catalogue.folder, f"space-{space}", whole)
    return int(np.isfinite(whole[:, 0]).sum())


def _save_visual(context: RunContext, catalogue: Catalogue) -> int:
    """Embed the pictures; without the vision model the space stays empty."""
    visual_arms = {"visual", "concat", "weighted", "rank_fusion"}
    vectors = context.spark.createDataFrame([], "item_id STRING, vector ARRAY<FLOAT>")
    if visual_arms & set(context.config.evaluate.arms):
        try:
            spec = visual_spec(context.config)
            embed_pictures(context, spec)
            vectors = visual_vectors(context, spec)
        except MissingExtraError as error:
            logger.warning("no arm sees pictures: %s", error)
    return _save(catalogue, "visual", vectors)


def _joined(catalogue: Catalogue, left: str, right: str) -> npt.NDArray[np.float32]:
    """Return both vectors one behind the other, to length 1; a missing half is zeros."""
    halves = [catalogue.space(space) for space in (left, right)]
    known = np.any([np.isfinite(half[:, 0]) for half in halves], axis=0)
    whole = np.concatenate([np.nan_to_num(half) for half in halves], axis=1)
    return unit_rows(np.where(known[:, None], whole, np.nan))


def control_names(control: str) -> tuple[str, ...]:
    """Return the names of all draws of a control.

    >>> control_names("random")
    ('random', 'random_2', 'random_3')
    """
    return (control, *(f"{control}_{n}" for n in range(2, CONTROL_DRAWS + 1)))


def _save_control(catalogue: Catalogue, control: str, space: str, seed: int) -> int:
    """Write captions dealt to other items, or vectors drawn at random: what chance can do."""
    captions = catalogue.space("caption")
    described = np.flatnonzero(np.isfinite(captions[:, 0]))
    draw = control_names(control).index(space)
    rng = np.random.default_rng([seed, CONTROLS.index(control), draw])
    whole: npt.NDArray[np.float32]
    if control == "shuffled":
        whole = np.array(captions)
        dealt = rng.permutation(described)
        # A cycle: no item keeps its own caption.
        whole[dealt] = captions[np.roll(dealt, 1)]
    else:
        whole = unit_rows(rng.standard_normal((len(catalogue.items), RANDOM_DIMENSIONS)))
    save_array(catalogue.folder, f"space-{space}", whole)
    return int(np.isfinite(whole[:, 0]).sum())

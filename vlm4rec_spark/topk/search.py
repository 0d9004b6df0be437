"""Search from a sentence or a user's profile, both edited in words where asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.catalog.fetch import FetchSpec, locate
from vlm4rec_spark.catalog.images import PictureError
from vlm4rec_spark.descriptions.plan import sure_words
from vlm4rec_spark.embeddings.encoders import encode_texts
from vlm4rec_spark.errors import ConfigError, SourceError
from vlm4rec_spark.profiles.job import judged_events, user_history
from vlm4rec_spark.profiles.vectors import fusion_of, histories, query_profiles
from vlm4rec_spark.tables import DESCRIPTIONS, IMAGES, ITEMS
from vlm4rec_spark.topk.edits import NO_EDIT, Edit
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.facts_job import searched_items
from vlm4rec_spark.topk.lists import near_profiles, seen_masks
from vlm4rec_spark.topk.ranking import Ranked, ranked
from vlm4rec_spark.topk.rule_checks import search_rules
from vlm4rec_spark.topk.snapshot import Snapshot, load_snapshot
from vlm4rec_spark.topk.snapshot_job import take_snapshot
from vlm4rec_spark.topk.texts import fitting_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame

    from vlm4rec_spark.embeddings.encoders import EncoderSpec
    from vlm4rec_spark.runs import RunContext


@dataclass(frozen=True)
class Searchable:
    """What a search needs: the matrix, the items it may find, the encoder of its space."""

    folder: str
    snapshot: Snapshot
    allowed: npt.NDArray[np.bool_]
    """(1, n): what lists may hold, and meeting the condition."""
    encoder: EncoderSpec

    @staticmethod
    def of(context: RunContext, where: str | None, segment: str | None = None) -> Searchable:
        """Check the condition and bring the item matrix up to date.

        Args:
            context: the run.
            where: condition that every item meets beside the rules of lists.
            segment: of the user whose rule holds, too.

        Raises:
            ConfigError: the condition is wrong.
            SourceError: no item has a vector yet, or they come from another encoder.
        """
        rules = search_rules(context.config, where, segment)
        folder = take_snapshot(context)
        snapshot = load_snapshot(folder)
        encoder = fitting_encoder(context.config, snapshot)
        return Searchable(folder, snapshot, searched_items(context, snapshot, rules), encoder)

    def encoded(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return texts as (n, d) unit rows in the space of the items."""
        return self.snapshot.placed(encode_texts(self.encoder, texts))


def search(
    context: RunContext,
    text: str | None,
    k: int,
    where: str | None = None,
    *,
    user_id: str | None = None,
    edit: Edit = NO_EDIT,
) -> DataFrame:
    """Return the k items nearest to a sentence, or to a user's profile, best first.

    What lists may not hold is not found either: unavailable items, and those that the settings
    `rules`, `allow`, `deny` and, from a profile, `user_rules` keep out. From a profile, each
    interest is edited and has its places, and what the user has seen is left out.

    Columns: rank, item_id, score, title, uri (the path or URL of the first picture, null where the
    source holds the bytes), attributes (map, visible ones only).

    Args:
        context: the run.
        text: the sentence; None: the user's profile.
        k: items wanted.
        where: condition that every item meets as well, written as in `topk.rules`.
        user_id: whose profile; None: the sentence.
        edit: what is wanted more and less.

    Raises:
        ConfigError: the condition is wrong, or there is not just one of text and user.
        SourceError: no item has a vector yet, they come from another encoder, or the user has no
            profile.
        Vlm4RecError: a text is empty, or the edit leaves nothing.
    """
    if (text is None) == (user_id is None):
        raise ConfigError("Give either a sentence or a user to search from, and not both.")
    if text is None:
        return _near_user(context, str(user_id), k, where, edit)
    space = Searchable.of(context, where)
    query = edit.applied(space.encoded([text]), space.encoded)
    masks = replace(Masks.nothing(1, len(space.snapshot)), allowed=space.allowed)
    exact = ExactEngine(space.snapshot.vectors)
    return _told(context, space.snapshot, ranked(space.snapshot, exact, query, k, masks))


def _near_user(
    context: RunContext, user_id: str, k: int, where: str | None, edit: Edit
) -> DataFrame:
    """Return the items nearest to the edited interests of a user that they have not seen."""
    events = judged_events(context).where(F.col("user_id") == user_id)
    table = user_history(context, events).where(F.col("user_id") == user_id).toArrow()
    segment = table["segment"][0].as_py() if len(table) else None
    space = Searchable.of(context, where, segment)
    snapshot, settings = space.snapshot, context.config.profiles
    block = histories(table, snapshot.find(table["item_id"].combine_chunks()))
    fusion = fusion_of(settings)
    found = query_profiles(snapshot.vectors, block, settings.interests, fusion)
    if not len(found.owner):
        raise SourceError(
            f"User '{user_id}' has no event that says what they like; search from a sentence."
        )
    profiles = replace(found, vectors=edit.applied(found.vectors, space.encoded))
    masks = replace(seen_masks(snapshot, block), allowed=space.allowed)
    candidates = near_profiles(snapshot, ExactEngine(snapshot.vectors), profiles, fusion)
    return _told(context, snapshot, candidates.best(np.zeros(1, np.int64), k, masks))


def _told(context: RunContext, snapshot: Snapshot, found: Ranked) -> DataFrame:
    """Return the first line of what was found, with titles, pictures and words."""
    best, scores = found.rows[0][found.rows[0] >= 0], found.scores[0]
    spark, names = context.spark, context.names
    ids = snapshot.ids.take(pa.array(best))
    uris = _located(context, ids)
    hits = spark.createDataFrame(
        [
            (rank, item, float(score), uris.get(item))
            for rank, (item, score) in enumerate(zip(ids.to_pylist(), scores, strict=False), 1)
        ],
        "rank INT, item_id STRING, score DOUBLE, uri STRING",
    )
    items = delta.read(spark, ITEMS, names).select("item_id", "title", "request_key")
    words = sure_words("attributes", context.config.describe.min_confidence)
    described = delta.read(spark, DESCRIPTIONS, names).select(
        "request_key", words.alias("attributes")
    )
    return (
        F.broadcast(hits)
        .join(items, "item_id", "left")
        .join(described, "request_key", "left")
        .select("rank", "item_id", "score", "title", "uri", "attributes")
        .orderBy("rank")
    )


def _located(context: RunContext, ids: pa.Array) -> dict[str, str | None]:
    """Return where the first picture of each item is: the catalogue may name it below a base."""
    spec = FetchSpec.of(context.config.images)
    wanted = F.broadcast(delta.ids_frame(context.spark, ids))
    pictures = delta.read(context.spark, IMAGES, context.names).where("position = 0")
    rows = pictures.join(wanted, "item_id", "left_semi").select("item_id", "uri").collect()
    return {row["item_id"]: _place(spec, row["uri"]) for row in rows}


def _place(spec: FetchSpec, uri: str | None) -> str | None:
    try:
        return locate(spec, uri.strip()) if uri else uri
    except PictureError:  # it could not be read either: what the catalogue says is all there is
        return uri

"""Texts in the space of the items, and users without a history who said what they look for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.embeddings.encoders import encode_texts, encoder_spec
from vlm4rec_spark.errors import SourceError

if TYPE_CHECKING:
    from vlm4rec_spark.config import Config
    from vlm4rec_spark.embeddings.encoders import EncoderSpec
    from vlm4rec_spark.profiles.vectors import Histories
    from vlm4rec_spark.topk.engines.interface import Vectors
    from vlm4rec_spark.topk.snapshot import Snapshot


def fitting_encoder(config: Config, snapshot: Snapshot) -> EncoderSpec:
    """Return the encoder of a configuration.

    Raises:
        SourceError: the items were embedded by another one.
    """
    encoder = encoder_spec(config)
    if encoder.identity != snapshot.encoder:
        raise SourceError(
            f"The items were embedded by {snapshot.encoder}, the configuration names "
            f"{encoder.identity}; run the catalog job, or set embed.model back."
        )
    return encoder


def wishes(
    snapshot: Snapshot, block: Histories, users: npt.NDArray[np.int64], encoder: EncoderSpec | None
) -> tuple[npt.NDArray[np.int64], Vectors]:
    """Return those of some users who said what they look for, and that as (users, d) unit rows.

    Args:
        snapshot: the catalogue.
        block: histories, with texts where there are any.
        users: numbers in the block.
        encoder: of the items; None: nobody says anything.
    """
    vectors = np.zeros((0, snapshot.vectors.shape[1]), np.float32)
    if encoder is None or not block.texts:
        return users[:0], vectors
    said = {user: text for user in users.tolist() if (text := block.texts[user])}
    # One by one: beside others, the last bits of a vector would depend on their lengths.
    known = {
        text: snapshot.placed(encode_texts(encoder, [text]))
        for text in dict.fromkeys(said.values())
    }
    vectors = np.concatenate([vectors, *(known[text] for text in said.values())])
    # What all items share says nothing once it is taken out: see `centring`.
    usable = np.isfinite(vectors).all(1)
    return np.array(list(said), np.int64)[usable], vectors[usable]

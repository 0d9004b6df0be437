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
    asking = [user for user in users.tolist() if encoder and block.texts and block.texts[user]]
    vectors = np.zeros((len(asking), snapshot.vectors.shape[1]), np.float32)
    known: dict[str, Vectors] = {}
    for line, user in enumerate(asking):
        text = str(block.texts[user])
        if text not in known and encoder:
            # One by one: beside others, the last bits of a vector would depend on their lengths.
            known[text] = snapshot.placed(encode_texts(encoder, [text]))[0]
        vectors[line] = known[text]
    # What all items share says nothing once it is taken out: see `centring`.
    usable = np.isfinite(vectors).all(1)
    return np.array(asking, np.int64)[usable], vectors[usable]

"""Lists of users without a history who said what they look for, with the real encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tests.unit.topk_pieces import block, by_user, history, snapshot, unit
from vlm4rec_spark.config import load_config
from vlm4rec_spark.embeddings.encoders import encode_texts, encoder_spec
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.lists import ListSpec, block_lists
from vlm4rec_spark.topk.rerank import Rerank
from vlm4rec_spark.topk.texts import fitting_encoder

if TYPE_CHECKING:
    from vlm4rec_spark.topk.snapshot import Snapshot

CONFIG = load_config("demo")
ENCODER = encoder_spec(CONFIG)
CAPTIONS = [
    f"A {cloth} {kind} for {occasion}."
    for kind in ("dress", "coat")
    for cloth in ("linen", "wool", "floral")
    for occasion in ("a garden party", "the office", "a mountain hike")
]
SPEC = ListSpec(EngineSpec("exact"), 4, encoder=ENCODER)
SAID = {
    "ann": "a floral dress for a garden party",
    "bob": "something in wool for the office",
    "cy": "a floral dress for a garden party",
}


def shop() -> Snapshot:
    state = snapshot(0, len(CAPTIONS), vectors=encode_texts(ENCODER, CAPTIONS))
    # What each word adds is drawn: nine items hold one of three words each.
    return replace(state, encoder=ENCODER.identity, effects=unit(np.random.default_rng(1), 3, 384))


def users(said: Mapping[str, str | None]) -> pa.Table:
    table = history(*((user, "i000", 0.0, True) for user in said))
    return table.append_column("text", pa.array(said.values(), pa.string()))


def lists(state: Snapshot, table: pa.Table, spec: ListSpec = SPEC) -> dict[str, list[Any]]:
    return by_user(block_lists(state, block(state, table), spec))


def nearest(state: Snapshot, text: str) -> list[str]:
    """Return the items nearest to a text, the first one seen."""
    scores: npt.NDArray[np.float32] = state.vectors @ encode_texts(ENCODER, [text])[0]
    scores[0] = -2
    return [f"i{row:03d}" for row in np.argsort(-scores)[:4]]


def test_a_list_holds_the_unseen_items_nearest_to_what_the_user_said() -> None:
    state = shop()
    made = lists(state, users({**SAID, "dee": None}))
    for user, text in SAID.items():
        assert [row["item_id"] for row in made[user]] == nearest(state, text)
        assert {row["arm"] for row in made[user]} == {"profile"}
        assert {row["because_item_id"] for row in made[user]} == {None}
    ann, cy = ([{**row, "user_id": ""} for row in made[user]] for user in ("ann", "cy"))
    assert ann == cy
    assert {row["arm"] for row in made["dee"]} == {"popular"}


def test_a_list_is_the_same_whoever_else_said_something_and_with_any_rerank() -> None:
    state = shop()
    for spec in (SPEC, replace(SPEC, rerank=Rerank(relevance=0.5))):
        together = lists(state, users(SAID), spec)
        assert together == {
            user: lists(state, users({user: SAID[user]}), spec)[user] for user in SAID
        }
        assert {len(rows) for rows in together.values()} == {4}


def test_the_reason_names_words_that_add_to_the_score_and_no_others() -> None:
    state = shop()
    query = encode_texts(ENCODER, [SAID["bob"]])[0].astype(float)
    assert state.effects is not None
    adds = {f"s{n}": float(effect @ query) for n, effect in enumerate(state.effects)}
    for row in lists(state, users(SAID))["bob"]:
        word = f"s{int(row['item_id'][1:]) % 3}"
        (told,) = row["attribute_shares"] or [{"value": None}]
        if adds[word] > 0.001:
            assert row["reason"] == f"Fits what you asked for: {word}."
            assert told["value"] == word
            assert told["share"] == pytest.approx(adds[word] / row["score"], abs=1e-3)
        elif adds[word] < 0:
            assert row["reason"] == "It comes closest to what you asked for."
            assert told["value"] is None


def test_words_are_only_read_by_the_encoder_of_the_items() -> None:
    assert fitting_encoder(CONFIG, shop()) == ENCODER
    with pytest.raises(SourceError, match="embedded by other@1"):
        fitting_encoder(CONFIG, replace(shop(), encoder="other@1"))
    made = lists(shop(), users(SAID), replace(SPEC, encoder=None))
    assert {row["arm"] for rows in made.values() for row in rows} == {"popular"}

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm4rec_spark.descriptions.prompts import user_prompt
from vlm4rec_spark.descriptions.requests import (
    Picture,
    Request,
    RequestRules,
    SchemaBook,
    chat_body,
    params_hash,
    prompt_version,
    request_key,
)
from vlm4rec_spark.descriptions.schema import AttributeSchema, Field

SCHEMA = AttributeSchema(
    "shop",
    "Look at the picture.",
    (
        Field("colour", "the colour", values=("red", "blue")),
        Field("sleeves", "the sleeves", values=("short", "long"), categories=("Shirts",)),
    ),
    Field("description", "a description", max_words=20),
)
RULES = RequestRules(
    schemas=SchemaBook(SCHEMA),
    model="some/model",
    revision="abc",
    max_tokens=64,
    temperature=0.0,
    guided=True,
    use_title=True,
    resize_rule="fit-v1",
    max_side=448,
)
HASHES = st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), min_size=1, max_size=3)
TEXT = st.none() | st.text(max_size=30)


@given(HASHES, TEXT, TEXT)
def test_the_key_is_the_same_for_the_same_request(
    hashes: list[str], category: str | None, title: str | None
) -> None:
    key = request_key(RULES, hashes, category, title)
    assert key == request_key(replace(RULES), tuple(hashes), category, title)
    assert len(key) == 64


@given(HASHES, HASHES)
def test_the_key_changes_with_the_pictures_and_their_order(a: list[str], b: list[str]) -> None:
    same = request_key(RULES, a, None, None) == request_key(RULES, b, None, None)
    assert same == (a == b)


def test_the_key_changes_with_everything_that_changes_the_answer() -> None:
    other_schema = replace(SCHEMA, instructions="Look twice.")
    other_values = replace(SCHEMA, fields=(Field("colour", "the colour", values=("red",)),))
    rules = [
        RULES,
        replace(RULES, model="other"),
        replace(RULES, revision="def"),
        replace(RULES, max_tokens=65),
        replace(RULES, temperature=0.5),
        replace(RULES, guided=False),
        replace(RULES, use_title=False),
        replace(RULES, resize_rule="fit-v2"),
        replace(RULES, max_side=336),
        replace(RULES, schemas=SchemaBook(other_schema)),
        replace(RULES, schemas=SchemaBook(other_values)),
    ]
    keys = {request_key(r, ["a"], None, "a title") for r in rules}
    assert len(keys) == len(rules)


def test_a_title_that_is_not_in_the_prompt_is_not_in_the_key() -> None:
    rules = replace(RULES, use_title=False)
    assert request_key(rules, ["a"], None, "one") == request_key(rules, ["a"], None, "two")
    assert request_key(RULES, ["a"], None, "one") != request_key(RULES, ["a"], None, "two")


@pytest.mark.parametrize(
    ("title", "sent"),
    [
        ("<image>Hat<|im_end|>", "image Hat im_end"),
        ("[INST]Hat[/INST] [IMG_BREAK]", "INST Hat /INST IMG_BREAK"),
        ("Hat [IM[IMG]G]", "Hat [IM IMG G]"),
        ("Hat [IN\u200bST]", "Hat [IN ST]"),
        ("Hat [XL] [NEW] [2 PACK]", "Hat [XL] [NEW] [2 PACK]"),
    ],
)
def test_a_title_loses_what_a_model_takes_for_a_command_and_nothing_else(
    title: str, sent: str
) -> None:
    assert user_prompt(title).endswith(f": {sent}")


def test_categories_that_ask_the_same_share_a_key() -> None:
    assert request_key(RULES, ["a"], "Hats", None) == request_key(RULES, ["a"], "Scarves", None)
    assert request_key(RULES, ["a"], "Hats", None) != request_key(RULES, ["a"], "Shirts", None)


def test_a_category_can_have_its_own_attribute_file() -> None:
    wine = replace(SCHEMA, name="wine", instructions="Look at the label.")
    book = SchemaBook(SCHEMA, (("Wine", wine),))
    assert book.schema_for("Wine").name == "wine"
    assert book.schema_for("Hats").name == book.schema_for(None).name == "shop"
    rules = replace(RULES, schemas=book)
    assert prompt_version(rules, "Wine") != prompt_version(rules, "Hats")
    assert params_hash(rules) == params_hash(RULES)


def test_the_body_puts_the_static_words_first_then_pictures_then_the_title() -> None:
    request = Request("key", (Picture("u", "hash"),), "Hats", "Blue hat")
    body = chat_body(RULES, request, [b"jpeg"], name_pictures=True)
    system, user = body["messages"]
    assert system["role"] == "system"
    assert "Blue hat" not in system["content"]
    picture, words = user["content"]
    assert base64.b64decode(picture["image_url"]["url"].partition(",")[2]) == b"jpeg"
    assert picture["uuid"] == "hash-448"
    assert words["text"].endswith("Blue hat")
    assert body["temperature"] == 0.0
    assert body["max_tokens"] == 64
    schema = body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["colour", "description"]


def test_several_pictures_of_an_item_go_into_one_request_in_their_order() -> None:
    request = Request("key", (Picture("u", "front"), Picture("v", "back")))
    body = chat_body(RULES, request, [b"one", b"two"], name_pictures=True)
    *pictures, words = body["messages"][1]["content"]
    assert [part["uuid"] for part in pictures] == ["front-448", "back-448"]
    shown = [part["image_url"]["url"].partition("base64,")[2] for part in pictures]
    assert [base64.b64decode(content) for content in shown] == [b"one", b"two"]
    assert words["type"] == "text"
    with pytest.raises(ValueError, match="shorter"):
        chat_body(RULES, request, [b"one"], name_pictures=True)


def test_a_foreign_endpoint_gets_no_picture_names_and_an_unguided_one_no_schema() -> None:
    request = Request("key", (Picture("u", "hash"),))
    body = chat_body(replace(RULES, guided=False), request, [b"jpeg"], name_pictures=False)
    assert "uuid" not in body["messages"][1]["content"][0]
    assert "response_format" not in body

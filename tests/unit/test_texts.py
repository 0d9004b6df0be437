"""The texts that get a vector."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm4rec_spark.embeddings.texts import VARIANTS, text_of, text_sha256

BLANK = st.text(alphabet=" \t\n\r\u00a0\u2003", max_size=5)


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        ("caption", "A red dress."),
        ("title", "Aria 12"),
        ("title_caption", "Aria 12. A red dress."),
        ("attributes", "colour: red; dress length: midi"),
    ],
)
def test_each_variant_says_what_its_name_says(variant: str, text: str) -> None:
    words = {"dress_length": "midi", "sleeve": None, "colour": " red "}
    assert text_of(variant, "Aria  12 ", "A red\ndress.", words) == text


@given(BLANK, BLANK, BLANK)
def test_blank_text_is_no_text(title: str, description: str, value: str) -> None:
    for variant in VARIANTS:
        assert text_of(variant, title, description, {"colour": value, "style": None}) is None
        assert text_of(variant, None, None, None) is None


def test_title_caption_takes_the_one_that_is_there() -> None:
    assert text_of("title_caption", None, "A red dress.", {}) == "A red dress."
    assert text_of("title_caption", "Aria", " ", {}) == "Aria."


def test_the_order_of_attributes_does_not_change_the_text() -> None:
    one = text_of("attributes", None, None, {"b": "2", "a": "1"})
    assert one == text_of("attributes", None, None, {"a": "1", "b": "2"})


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of caption"):
        text_of("visual", "t", "d", {})


def test_the_hash_is_that_of_the_utf8_bytes() -> None:
    expected = "a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e"
    assert text_sha256("Hello World") == expected
    assert text_sha256("é") != text_sha256("e\u0301")

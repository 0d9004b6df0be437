"""Clean-up of titles."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm4rec_spark.catalog.items import clean_group, clean_title


@pytest.mark.parametrize(
    ("given_title", "expected"),
    [
        (None, None),
        (" \t\n\x00 ", None),
        ("Linen\u00a0dress,\r\n  midi", "Linen dress, midi"),
        ("Cafe\u0301 table", "Café table"),
        ("Dress<br/>in <b class='x'>red</b>", "Dress in red"),
        ("size < 40 > 38 <M>", "size < 40 > 38 <M>"),
        ("\u202egnp.exe\u202c shirt", "gnp.exe shirt"),
        ("zero\u200bwidth", "zerowidth"),
        ("👩\u200d👧 set", "👩\u200d👧 set"),
    ],
)
def test_a_title_is_cleaned(given_title: str | None, expected: str | None) -> None:
    assert clean_title(given_title) == expected


def test_a_long_title_is_cut_at_a_word() -> None:
    assert clean_title("one two three", 9) == "one two"
    assert clean_title("x" * 30, 9) == "x" * 9


@given(st.text(max_size=80), st.integers(4, 40))
def test_a_cleaned_title_is_short_printable_and_clean_already(text: str, limit: int) -> None:
    title = clean_title(text, limit)
    if title is not None:
        assert 0 < len(title) <= limit
        assert clean_title(title, limit) == title
        assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in title)


def test_a_variant_group_passes_through_unless_blank() -> None:
    assert clean_group(" A-1 ") == " A-1 "
    assert clean_group("  ") is None

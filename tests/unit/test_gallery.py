"""Galleries: pictures inside, hostile text as text."""

from __future__ import annotations

from vlm4rec_spark.gallery import LONGEST, Card, gallery


def test_a_card_holds_its_picture_and_its_words() -> None:
    html = gallery("Best", [Card("i1", "Coat", ["Like your scarf"], "comes")], {"i1": b"jpeg"})
    assert 'src="data:image/jpeg;base64,anBlZw=="' in html
    assert "Like your scarf" in html
    assert '<p class="mark">comes</p>' in html


def test_hostile_titles_and_reasons_are_shown_as_text() -> None:
    hostile = '"><script>alert(1)</script>'
    html = gallery(hostile, [Card("i1", hostile, [hostile], hostile)], {"i1": b"x"})
    assert "<script>" not in html
    assert 'alt="&quot;&gt;' in html


def test_an_item_without_title_or_picture_is_still_named() -> None:
    assert "i1" in gallery("g", [Card("i1", None)], {})
    assert "no picture" in gallery("g", [Card("i1", None)], {})


def test_long_titles_are_cut_and_an_empty_gallery_says_so() -> None:
    assert "x" * LONGEST not in gallery("g", [Card("i", "x" * 200)], {})
    assert "none" in gallery("g", [], {})

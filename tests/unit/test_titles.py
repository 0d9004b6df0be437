"""Titles: from telling to useless, and some that try to break things."""

from __future__ import annotations

import numpy as np

from vlm4rec_spark.demo.products import sample_product
from vlm4rec_spark.demo.titles import hostile_title, title


def _titles(count: int) -> tuple[list[str], list[bool], list[bool]]:
    """Return titles, whether they tell the type, and whether they tell the material."""
    rng = np.random.default_rng(0)
    products = [sample_product(rng) for _ in range(count)]
    titles = [title(p, rng) for p in products]
    pairs = list(zip(products, titles, strict=True))
    types = [p.type in words.lower() for p, words in pairs]
    return titles, types, [p.material in words.lower() for p, words in pairs]


def test_titles_run_from_telling_to_useless() -> None:
    titles, types, materials = _titles(2000)
    assert 0.3 < np.mean(types) < 0.6
    assert 0.05 < np.mean(materials) < 0.2
    assert all(0 < len(words) < 80 for words in titles)


def test_titles_are_the_same_for_the_same_seed() -> None:
    assert _titles(20) == _titles(20)


def test_hostile_titles_bring_injections_control_characters_and_great_length() -> None:
    rng = np.random.default_rng(0)
    titles = [hostile_title(rng) for _ in range(300)]
    assert any("Ignore all previous" in words for words in titles)
    assert any('"role": "system"' in words for words in titles)
    assert any("\0" in words for words in titles)
    assert max(map(len, titles)) > 1000

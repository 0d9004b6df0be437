"""The renderer: every product can be drawn, the same way every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlm4rec_spark.demo.products import KINDS, NONE, PATTERNS, Product, sample_product
from vlm4rec_spark.demo.render import Photo, render
from vlm4rec_spark.demo.truth import VIEWS

SURFACES = [(kind, material) for kind, entry in KINDS.items() for material in entry.materials]


def _product(kind: str, **changes: str) -> Product:
    return replace(sample_product(np.random.default_rng(5), kind), **changes)


def _draw(product: Product, view: str = "clear", seed: int = 0) -> Photo:
    return render(product, view, seed, side=64)


@pytest.mark.parametrize(("kind", "material"), SURFACES)
def test_every_type_draws_in_each_of_its_materials(kind: str, material: str) -> None:
    photo = _draw(_product(kind, material=material))
    assert photo.pixels.shape == (64, 64, 3)
    assert photo.pixels.dtype == np.uint8
    assert 0.02 < (photo.body > 127).mean() < 0.85
    assert photo.pixels.std() > 5


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_and_finish_of_a_type_looks_different(kind: str) -> None:
    pictures = {
        _draw(_product(kind, cut=cut, finish=finish)).pixels.tobytes()
        for cut in KINDS[kind].cuts
        for finish in KINDS[kind].finishes
    }
    assert len(pictures) == len(KINDS[kind].cuts) * len(KINDS[kind].finishes)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_pattern_draws_in_every_view(pattern: str, view: str) -> None:
    second = NONE if pattern == "plain" else "white"
    product = _product("dress", colour="navy", second_colour=second, pattern=pattern)
    assert _draw(product, view).pixels.shape == (64, 64, 3)


def test_the_seed_decides_the_picture() -> None:
    product = _product("armchair")
    first = _draw(product, seed=1).pixels
    assert np.array_equal(first, _draw(product, seed=1).pixels)
    assert not np.array_equal(first, _draw(product, seed=2).pixels)


def test_a_close_up_is_all_surface_and_a_dark_picture_is_dark() -> None:
    product = _product("shirt", colour="red", second_colour=NONE, pattern="plain")
    assert (_draw(product, "close-up").body > 127).mean() > 0.99
    assert _draw(product, "dark").pixels.mean() < 0.5 * _draw(product).pixels.mean()

"""Picture files: what comes back upright is the drawing, whatever the file looks like."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

from vlm4rec_spark.catalog.images import Limits, inspect
from vlm4rec_spark.demo.photos import Shot, broken, plan_shot, take
from vlm4rec_spark.demo.products import sample_product
from vlm4rec_spark.demo.render import render

PRODUCT = sample_product(np.random.default_rng(1), "dress")
SHOT = Shot(200, 260, "JPEG", 90, 1)


def _upright(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    return np.asarray(image.convert("RGB"), np.float64)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photo_is_upright_after_its_exif_orientation(orientation: int) -> None:
    turned = _upright(take(PRODUCT, "clear", 7, replace(SHOT, orientation=orientation)))
    straight = _upright(take(PRODUCT, "clear", 7, SHOT))
    assert turned.shape == straight.shape == (260, 200, 3)
    assert np.abs(turned - straight).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("width", "height"), [(200, 260), (260, 200), (200, 200)])
def test_the_centre_square_is_the_drawing(kind: str, width: int, height: int) -> None:
    photo = _upright(take(PRODUCT, "clear", 7, Shot(width, height, kind, 92, 1)))
    top, left = (height - 200) // 2, (width - 200) // 2
    drawn = render(PRODUCT, "clear", 7, 200).pixels
    assert photo.shape == (height, width, 3)
    assert np.abs(photo[top : top + 200, left : left + 200] - drawn).mean() < 6


def test_the_same_photo_has_the_same_bytes() -> None:
    assert take(PRODUCT, "dark", 7, SHOT) == take(PRODUCT, "dark", 7, SHOT)


def test_shots_are_of_many_sizes_formats_and_orientations() -> None:
    shots = [plan_shot(seed) for seed in range(600)]
    assert all(180 <= min(s.width, s.height) <= max(s.width, s.height) <= 1200 for s in shots)
    assert max(max(s.width, s.height) for s in shots) > 1000
    assert min(min(s.width, s.height) for s in shots) < 190
    assert {s.width < s.height for s in shots} == {True, False}
    assert set(Counter(s.format for s in shots)) == {"JPEG", "PNG", "WEBP"}
    assert {s.orientation for s in shots if s.format == "JPEG"} == {1, 3, 6, 8}
    assert {s.orientation for s in shots if s.format != "JPEG"} == {1}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kind", ["truncated", "empty", "html"])
def test_a_broken_picture_is_no_picture(kind: str, file_format: str) -> None:
    rest = broken(kind, take(PRODUCT, "clear", 7, replace(SHOT, format=file_format)))
    assert rest is not None
    assert inspect(rest, Limits()).status == "error"
    assert broken("missing", b"picture") is None

"""One item's picture file: the drawing, and what shops, cameras and uploads do to it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from vlm4rec_spark.demo.render import render

if TYPE_CHECKING:
    from vlm4rec_spark.demo.products import Product

Pixels = npt.NDArray[np.uint8]

SHORT_SIDES = ((180, 224), (225, 299), (300, 399), (400, 599), (600, 899))
SHORT_SIDE_SHARES = (0.3, 0.34, 0.22, 0.1, 0.04)
"""Ranges of the shorter side in pixels; large pictures are rare because they are slow to draw."""
MIN_SIDE = 180
FORMATS = ("JPEG", "PNG", "WEBP")
FORMAT_SHARES = (0.74, 0.13, 0.13)
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
UNDO_ROTATION = {
    1: None,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> how the stored pixels are turned, so that a viewer shows them upright."""
ORIENTATION_SHARES = (0.85, 0.05, 0.05, 0.05)
ERROR_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"
KEPT_WHEN_TRUNCATED = 0.4


@dataclass(frozen=True)
class Shot:
    """How a photo is taken and stored: `width` and `height` in pixels as a viewer shows them.

    `quality` is that of JPEG and WebP; `orientation` an EXIF orientation, 1 for other formats
    than JPEG.
    """

    width: int
    height: int
    format: str
    quality: int
    orientation: int

    @property
    def extension(self) -> str:
        """The file name's ending, without a dot."""
        return EXTENSIONS[self.format]


def plan_shot(seed: int, max_side: int = 1200) -> Shot:
    """Choose size, format, quality and orientation of the photo with this seed."""
    rng = np.random.default_rng([seed, 1])
    low, high = SHORT_SIDES[int(rng.choice(len(SHORT_SIDES), p=SHORT_SIDE_SHARES))]
    short = max(MIN_SIDE, min(int(rng.integers(low, high + 1)), max_side))
    ratio = float(rng.choice((1.0, 1.25, 4 / 3, 1.5), p=(0.4, 0.2, 0.25, 0.15)))
    long = max(short, min(round(short * ratio), max_side))
    is_portrait = rng.random() < 0.7
    kind = str(rng.choice(FORMATS, p=FORMAT_SHARES))
    orientation = int(rng.choice(tuple(UNDO_ROTATION), p=ORIENTATION_SHARES))
    return Shot(
        width=short if is_portrait else long,
        height=long if is_portrait else short,
        format=kind,
        quality=int(rng.integers(72, 96)),
        orientation=orientation if kind == "JPEG" else 1,
    )


def take(product: Product, view: str, seed: int, shot: Shot) -> bytes:
    """Return the bytes of the picture file; the same arguments give the same bytes."""
    pixels = render(product, view, seed, min(shot.width, shot.height)).pixels
    rng = np.random.default_rng([seed, 2])
    image = Image.fromarray(extend(pixels, shot.width, shot.height, rng))
    turn = UNDO_ROTATION[shot.orientation]
    out = io.BytesIO()
    if shot.format == "JPEG":
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = shot.orientation
        stored = image if turn is None else image.transpose(turn)
        stored.save(out, "JPEG", quality=shot.quality, exif=exif)
    elif shot.format == "WEBP":
        image.save(out, "WEBP", quality=shot.quality, method=2)
    else:
        image.save(out, "PNG", compress_level=4)
    return out.getvalue()


def extend(pixels: Pixels, width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Continue the background so that a square picture becomes `width` x `height`.

    The picture is the centre square. The strips repeat its border, smoothed and with fresh grain:
    repeated as it is, the border's noise would draw lines.
    """
    side = pixels.shape[0]
    for axis, wanted in ((0, height), (1, width)):
        before = (wanted - side) // 2
        after = wanted - side - before
        if wanted > side:
            turned = pixels if axis == 0 else pixels.transpose(1, 0, 2)
            strips = (_strip(turned[:3], before, rng), turned, _strip(turned[-3:], after, rng))
            joined = np.concatenate(strips)
            pixels = joined if axis == 0 else joined.transpose(1, 0, 2)
    return np.ascontiguousarray(pixels)


def _strip(border: Pixels, depth: int, rng: np.random.Generator) -> Pixels:
    """Return (depth, side, 3) pixels that continue a border of a few rows, (rows, side, 3)."""
    line = border.astype(np.float32).mean(0)
    reach = min(6, line.shape[0] - 1)
    padded = np.pad(line, ((reach, reach), (0, 0)), mode="edge")
    sums = np.cumsum(np.concatenate([np.zeros((1, 3), np.float32), padded]), axis=0)
    smooth = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
    grain = rng.standard_normal((depth, line.shape[0], 1), dtype=np.float32) * np.float32(1.5)
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def broken(kind: str, whole: bytes) -> bytes | None:
    """Return what is left of a picture file: bytes that are no picture, or None for no file."""
    if kind == "truncated":
        return whole[: int(len(whole) * KEPT_WHEN_TRUNCATED)]
    return {"empty": b"", "html": ERROR_PAGE, "missing": None}[kind]

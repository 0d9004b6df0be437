"""The surface of a product: where the second colour goes, and how the material looks.

All maps are float32 arrays of shape (height, width) over the product's box in the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Map = npt.NDArray[np.float32]
TURN = np.float32(2 * np.pi)


@dataclass(frozen=True)
class Canvas:
    """Coordinates of every pixel in the box.

    `u`, `v`: in the sketch's units, turning with the product (for patterns).
    `x`, `y`: in 1/192 of the picture's side, turning with the product (for textures).
    `edge`: 0 outside to 1 deep inside the product. `middle`: the v of the product's centre.
    """

    u: Map
    v: Map
    x: Map
    y: Map
    edge: Map
    middle: float


@dataclass(frozen=True)
class Texture:
    """Relative brightness (0: unchanged) and white sheen (0 to 1, or None)."""

    brightness: Map
    sheen: Map | None = None


def noise(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> Map:
    """Return smooth noise in about 0 to 1 with `cells` cells along the longer side."""
    height, width = shape
    longer = max(shape)
    rows, columns = max(2, cells * height // longer), max(2, cells * width // longer)
    grid = Image.fromarray(rng.random((rows, columns), dtype=np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), np.float32)


# --- patterns: share of the second colour, 0 to 1; floral adds the share of a third one


def striped(canvas: Canvas, rng: np.random.Generator, size: float) -> Map:
    """Stripes along or across, half of the surface each."""
    along = canvas.u if rng.random() < 0.5 else canvas.v
    return np.clip(np.cos(along * (TURN / np.float32(0.2 * size))) * 4 + 0.5, 0, 1)


def checked(canvas: Canvas, rng: np.random.Generator, size: float) -> Map:
    """Two crossing sets of stripes; where they cross the colour is full."""
    del rng

    def half(along: Map) -> Map:
        wave = np.cos(along * (TURN / np.float32(0.26 * size)))
        return np.clip(wave * 5 + 0.5, 0, 1) * np.float32(0.5)

    return half(canvas.u) + half(canvas.v)


def _cells(canvas: Canvas, cell: float) -> tuple[Map, Map, Map, Map]:
    """Offsets from the centre of each cell of a staggered grid, and the cell's column and row."""
    pitch = np.float32(cell)
    row = np.floor(canvas.v / pitch)
    shifted = canvas.u + (row % 2 != 0) * (pitch / 2)
    column = np.floor(shifted / pitch)
    half = np.float32(0.5)
    return shifted - (column + half) * pitch, canvas.v - (row + half) * pitch, column, row


def dotted(canvas: Canvas, rng: np.random.Generator, size: float) -> Map:
    """Round dots on a staggered grid."""
    del rng
    du, dv, _, _ = _cells(canvas, 0.21 * size)
    return np.clip((np.float32(0.064 * size) - np.hypot(du, dv)) * 60 + 0.5, 0, 1)


def floral(canvas: Canvas, rng: np.random.Generator, size: float) -> tuple[Map, Map]:
    """Five-petalled flowers, each turned and moved a little; and their centres."""
    du, dv, column, row = _cells(canvas, 0.3 * size)
    phase = np.float32(rng.uniform(0, 97))
    chance = np.sin(column * np.float32(12.9898) + row * np.float32(78.233) + phase)
    chance = chance * np.float32(4375.85)
    chance = chance - np.floor(chance)
    du = du + (chance - np.float32(0.5)) * np.float32(0.06)
    dv = dv + ((chance * 7) % 1 - np.float32(0.5)) * np.float32(0.06)
    radius = np.hypot(du, dv)
    petals = np.cos(5 * (np.arctan2(dv, du) + chance * TURN))
    reach = np.float32(0.13 * size) * (np.float32(0.62) + np.float32(0.38) * petals)
    flower = np.clip((reach - radius) * 45 + 0.5, 0, 1)
    return flower, np.clip((np.float32(0.036) - radius) * 60 + 0.5, 0, 1)


def colour_block(canvas: Canvas, rng: np.random.Generator, size: float) -> Map:
    """Two halves: one above the other, or divided by a slanted line."""
    del size
    if rng.random() < 0.6:
        across = canvas.v - np.float32(canvas.middle)
    else:
        slope = np.float32(rng.uniform(-0.5, 0.5))
        across = canvas.u + (canvas.v - np.float32(canvas.middle)) * slope
    return np.clip(across * 60 + 0.5, 0, 1)


SIMPLE_PATTERNS: dict[str, Callable[[Canvas, np.random.Generator, float], Map]] = {
    "striped": striped,
    "checked": checked,
    "dotted": dotted,
    "colour-block": colour_block,
}


# --- materials: textures coarse enough to survive a picture of 128 pixels


def denim(canvas: Canvas, rng: np.random.Generator, size: float) -> Texture:
    """Diagonal twill and uneven fading."""
    phase = np.float32(rng.uniform(0, 50))
    twill = np.sin((canvas.x + canvas.y + phase) * (TURN / np.float32(7.8 * size)))
    fading = noise(rng, canvas.x.shape, 7) - np.float32(0.5)
    return Texture(np.float32(0.18) * twill + np.float32(0.3) * fading)


def knit(canvas: Canvas, rng: np.random.Generator, size: float) -> Texture:
    """Chunky V-shaped stitches in ribs."""
    rib = np.float32(15 * size)
    across = np.abs(((canvas.x + np.float32(rng.uniform(0, 50))) / rib) % 1 - np.float32(0.5)) * 2
    stitch = canvas.y / np.float32(10 * size) + across * np.float32(0.62)
    valley = np.clip(across - np.float32(0.66), 0, 1) * 3
    return Texture(np.float32(0.26) * np.cos(stitch * TURN) - np.float32(0.42) * valley + 0.05)


def leather(canvas: Canvas, rng: np.random.Generator, size: float) -> Texture:
    """Smooth, dark towards the edges, with hard highlights and creases."""
    del size
    gloss = np.clip((noise(rng, canvas.x.shape, 7) - np.float32(0.7)) * 9, 0, 1)
    crease = np.abs(noise(rng, canvas.x.shape, 9) - np.float32(0.5))
    rim = np.clip(np.float32(0.93) - canvas.edge, 0, 0.5)
    dark = np.float32(-0.55) * rim - np.float32(0.3) * np.clip(1 - crease * 22, 0, 1)
    inside = np.clip((canvas.edge - np.float32(0.5)) * 3, 0, 1)
    return Texture(dark, np.float32(0.62) * gloss * inside)


def silk(canvas: Canvas, rng: np.random.Generator, size: float) -> Texture:
    """Broad flowing folds with a soft sheen."""
    phase = np.float32(rng.uniform(0, 50))
    bend = 11 * np.sin(canvas.y / np.float32(21) + phase)
    bend = bend + 6 * np.sin(canvas.x / np.float32(15) + phase)
    along = canvas.x * np.float32(0.8) + canvas.y * np.float32(0.45) + bend
    fold = np.sin(along * (TURN / np.float32(36 * size)) + phase)
    sheen = np.float32(0.42) * np.clip((fold - np.float32(0.45)) * np.float32(1.8), 0, 1)
    return Texture(np.float32(0.24) * fold + np.float32(0.02), sheen)


def linen(canvas: Canvas, rng: np.random.Generator, size: float) -> Texture:
    """An open weave of uneven threads both ways."""
    pitch = np.float32(5.6 * size)
    slub = rng.standard_normal((2, 512)).astype(np.float32)

    def thread(along: Map) -> npt.NDArray[np.int32]:
        return np.clip(along / pitch + 256, 0, 511).astype(np.int32)

    def gap(along: Map) -> Map:
        return np.clip(np.abs((along / pitch) % 1 - np.float32(0.5)) * 2 - np.float32(0.62), 0, 1)

    threads = slub[0][thread(canvas.x)] + slub[1][thread(canvas.y)]
    gaps = gap(canvas.x) + gap(canvas.y)
    return Texture(np.float32(0.095) * threads - np.float32(0.5) * gaps + np.float32(0.08))


def wool(canvas: Canvas, rng: np.random.Generator, size: float) -> Texture:
    """A mottled nap."""
    del size
    coarse = noise(rng, canvas.x.shape, 30) - np.float32(0.5)
    fine = noise(rng, canvas.x.shape, 60) - np.float32(0.5)
    return Texture(np.float32(0.62) * coarse + np.float32(0.25) * fine)


def ceramic(canvas: Canvas, rng: np.random.Generator, size: float) -> Texture:
    """A smooth glaze with one upright highlight and dark sides."""
    centre = np.float32(rng.uniform(-0.3, -0.1))
    highlight = np.exp(-(((canvas.u - centre) / np.float32(0.06 * size)) ** 2))
    rim = np.clip(np.float32(0.95) - canvas.edge, 0, 0.5)
    return Texture(np.float32(-0.6) * rim, np.float32(0.75) * highlight)


def wood(canvas: Canvas, rng: np.random.Generator, size: float) -> Texture:
    """Wavy grain along the product."""
    waves = noise(rng, canvas.x.shape, 5) * 26
    grain = np.sin((canvas.x + waves) * (TURN / np.float32(9 * size)))
    streak = noise(rng, canvas.x.shape, 18) - np.float32(0.5)
    return Texture(np.float32(0.24) * grain + np.float32(0.2) * streak - np.float32(0.06))


TEXTURES: dict[str, Callable[[Canvas, np.random.Generator, float], Texture]] = {
    "denim": denim,
    "knit": knit,
    "leather": leather,
    "silk": silk,
    "linen": linen,
    "wool": wool,
    "ceramic": ceramic,
    "wood": wood,
}

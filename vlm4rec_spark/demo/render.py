"""Draw a product: deterministic by seed, anti-aliased, with the nuisance of a real shop photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from vlm4rec_spark.demo.drawing import OUTLINES
from vlm4rec_spark.demo.drawing.sketch import Part, Sketch, box, brightness
from vlm4rec_spark.demo.drawing.surface import (
    SIMPLE_PATTERNS,
    TEXTURES,
    Canvas,
    Map,
    floral,
    noise,
)
from vlm4rec_spark.demo.products import COLOURS, Product

SUPERSAMPLING = 3
MIRRORED = ("sneaker", "boot", "hat")
"""Types shown from the side, which may face either way."""
CLOSE_UP_ZOOM = (1.25, 1.7)
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Photo:
    """`pixels`: (side, side, 3) RGB uint8; `body`: (side, side) uint8, 255 where surface shows."""

    pixels: Bytes
    body: Bytes


@dataclass(frozen=True)
class Placement:
    """Where the sketch lands: centre of the sketch, shift in the picture, scale, turn."""

    centre: npt.NDArray[np.float32]
    shift: npt.NDArray[np.float32]
    scale_x: float
    scale_y: float
    turn: float

    def to_pixels(self, points: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
        """Map sketch points (n, 2) to pixel coordinates (n, 2)."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        scaled = (points - self.centre) * np.array([self.scale_x, self.scale_y], np.float32)
        matrix = np.array([[c, s], [-s, c]], np.float32)
        return ((scaled @ matrix + self.shift + 1) * np.float32(side / 2)).astype(np.float32)


@dataclass(frozen=True)
class Stencil:
    """A part's coverage (h, w) uint8, placed with its upper left corner at (top, left)."""

    part: Part
    top: int
    left: int
    cover: Bytes

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns of the picture."""
        height, width = self.cover.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def render(product: Product, view: str = "clear", seed: int = 0, side: int = 192) -> Photo:
    """Draw `product` as a square picture of `side` pixels.

    A 'close-up' shows nothing but surface; a 'dark' picture nothing but an outline.
    """
    rng = np.random.default_rng(seed)
    sketch = Sketch()
    if view == "close-up":
        sketch.body(box(-3, -3, 3, 3))
    else:
        OUTLINES[product.type](sketch, product)
    place = _placement(sketch, product, view, rng)
    stencils = [s for s in (_stencil(p, place, side) for p in sketch.parts) if s is not None]
    visible, body = _coverage(stencils, side)
    picture = _background(rng, side, visible)
    _paint(picture, stencils, product, place, visible, rng)
    if product.type == "lamp" and view == "clear":
        _glow(picture, place)
    if view == "dark":
        picture = _darken(picture, visible, rng)
    picture *= (rng.uniform(0.9, 1.06) * (1 + rng.normal(0, 0.02, 3))).astype(np.float32)[
        :, None, None
    ]
    picture += rng.standard_normal(picture.shape[1:], dtype=np.float32) * rng.uniform(0, 3.5)
    pixels = np.clip(picture, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return Photo(np.ascontiguousarray(pixels), body)


def _placement(sketch: Sketch, product: Product, view: str, rng: np.random.Generator) -> Placement:
    if view == "close-up":
        zoom = rng.uniform(*CLOSE_UP_ZOOM)
        shift = rng.uniform(-0.3, 0.3, 2).astype(np.float32)
        turn = math.radians(rng.normal(0, 12))
        return Placement(np.zeros(2, np.float32), shift, zoom, zoom, turn)
    points = np.concatenate([p.points for p in sketch.parts if p.kind != "seam"])
    low, high = points.min(0), points.max(0)
    extent = max(float((high - low).max()) / 2, 0.62)
    scale = rng.uniform(0.66, 0.88) / extent
    flip = -1 if product.type in MIRRORED and rng.random() < 0.5 else 1
    return Placement(
        centre=((low + high) / 2).astype(np.float32),
        shift=rng.uniform(-0.08, 0.08, 2).astype(np.float32),
        scale_x=flip * scale * rng.uniform(0.95, 1.05),
        scale_y=scale,
        turn=math.radians(rng.normal(0, 5)),
    )


def _stencil(part: Part, place: Placement, side: int) -> Stencil | None:
    points = place.to_pixels(part.points, side)
    width = max(1.0, part.width * place.scale_y * side / 2) if part.width else 0.0
    left, top = np.maximum(np.floor(points.min(0) - width - 2).astype(int), 0)
    right, bottom = np.minimum(np.ceil(points.max(0) + width + 3).astype(int), side)
    if right <= left or bottom <= top:
        return None
    size = ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING)
    image = Image.new("L", size)
    draw = ImageDraw.Draw(image)
    corners = [(float(x), float(y)) for x, y in (points - (left, top)) * SUPERSAMPLING]
    if width:
        draw.line(corners, fill=255, width=max(1, round(width * SUPERSAMPLING)), joint="curve")
    else:
        draw.polygon(corners, fill=255)
    return Stencil(part, int(top), int(left), np.asarray(image.reduce(SUPERSAMPLING)))


def _coverage(stencils: list[Stencil], side: int) -> tuple[Bytes, Bytes]:
    """Return what any part covers, and where the surface itself is on top."""
    visible = np.zeros((side, side), np.uint8)
    body = np.zeros((side, side), np.uint8)
    for stencil in stencils:
        area = stencil.area
        visible[area] = np.maximum(visible[area], stencil.cover)
        if stencil.part.kind == "body":
            body[area] = np.maximum(body[area], stencil.cover)
        elif stencil.part.kind in ("fill", "line"):
            body[area] = np.minimum(body[area], 255 - stencil.cover)
    return visible, body


def _blur(mask: Bytes, radius: float) -> Map:
    """Blur a mask, empty outside the picture; returns 0 to 1."""
    margin = math.ceil(radius * 2)
    padded = Image.fromarray(np.pad(mask, margin))
    blurred = np.asarray(
        padded.filter(ImageFilter.BoxBlur(radius)).filter(ImageFilter.BoxBlur(radius))
    )
    inner: Map = blurred[margin:-margin, margin:-margin].astype(np.float32) / np.float32(255)
    return inner


def _grid(side: int) -> tuple[Map, Map]:
    """Return x and y of every pixel, -1 to 1."""
    line = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / side * 2 - 1
    x, y = np.meshgrid(line.astype(np.float32), line.astype(np.float32))
    return x, y


def _background(rng: np.random.Generator, side: int, visible: Bytes) -> Map:
    """A light wall and floor with the product's soft shadow; (3, side, side) float32."""
    x, y = _grid(side)
    tint = rng.random(3) * 0.5 + 0.5
    base = np.array([236, 232, 228]) * (0.8 + 0.2 * tint / tint.max()) * rng.uniform(0.86, 1.03)
    slope = rng.uniform(-0.06, 0.06, 2).astype(np.float32)
    light = 1 + slope[0] * x + slope[1] * y - np.float32(0.05) * (x * x + y * y)
    horizon = np.float32(rng.uniform(0.45, 0.75))
    light += np.clip((y - horizon) * 12, 0, 1) * np.float32(rng.uniform(-0.09, 0.03))
    pixel = side / 192
    dx, dy = int(rng.integers(-7, 8) * pixel), int(rng.integers(3, 8) * pixel)
    shadow = np.roll(_blur(visible, 7 * pixel), (dy, dx), (0, 1))
    light *= 1 - np.float32(0.33) * shadow
    return (light * base.astype(np.float32)[:, None, None]).astype(np.float32)


def _paint(
    picture: Map,
    stencils: list[Stencil],
    product: Product,
    place: Placement,
    visible: Bytes,
    rng: np.random.Generator,
) -> None:
    """Paint all parts over the background, in order."""
    side = visible.shape[0]
    rows = slice(min(s.area[0].start for s in stencils), max(s.area[0].stop for s in stencils))
    columns = slice(min(s.area[1].start for s in stencils), max(s.area[1].stop for s in stencils))
    edge = _blur(visible, 6 * side / 192)
    canvas = _canvas(stencils, place, edge, (rows, columns))
    surface, light = _surface(product, canvas, place, rng)
    nap = noise(rng, canvas.u.shape, 72) - np.float32(0.5) if product.material == "wool" else None
    bright = brightness(COLOURS[product.colour])
    for stencil in stencils:
        part, area = stencil.part, stencil.area
        inner = (
            slice(area[0].start - rows.start, area[0].stop - rows.start),
            slice(area[1].start - columns.start, area[1].stop - columns.start),
        )
        below = picture[(slice(None), *area)]
        cover = stencil.cover.astype(np.float32) / 255
        if part.kind == "seam":
            below *= 1 + np.float32(-0.285 if bright > 55 else 0.525) * cover
            continue
        if part.kind in ("fill", "line"):
            colour = np.array(part.colour, np.float32)[:, None, None] * light[inner]
        else:
            colour = surface[(slice(None), *inner)]
            if nap is not None:
                cover = np.clip(cover + nap[inner] * (6.4 * cover * (1 - cover)), 0, 1)
            colour = _shade(colour, part, stencil.cover, side)
            if product.material == "denim" and part.kind == "body":
                colour = _stitch(colour, canvas, inner, stencil.cover, side)
        below += (colour - below) * cover


def _canvas(
    stencils: list[Stencil], place: Placement, edge: Map, area: tuple[slice, slice]
) -> Canvas:
    x, y = _grid(edge.shape[0])
    x, y = x[area] - place.shift[0], y[area] - place.shift[1]
    c, s = np.float32(math.cos(place.turn)), np.float32(math.sin(place.turn))
    along, down = c * x + s * y, c * y - s * x
    body = np.concatenate([s.part.points for s in stencils if s.part.kind == "body"])
    return Canvas(
        u=along / np.float32(place.scale_x) + place.centre[0],
        v=down / np.float32(place.scale_y) + place.centre[1],
        x=along * np.float32(96),
        y=down * np.float32(96),
        edge=edge[area],
        middle=float(body[:, 1].min() + body[:, 1].max()) / 2,
    )


def _surface(
    product: Product, canvas: Canvas, place: Placement, rng: np.random.Generator
) -> tuple[Map, Map]:
    """Return the coloured, textured and lit surface (3, h, w), and the light (h, w)."""
    colour = _two_colours(product, canvas, rng)
    texture = TEXTURES[product.material](canvas, rng, rng.uniform(0.92, 1.15))
    slope = np.float32(rng.uniform(-0.16, 0.16) / abs(place.scale_y) / 96)
    light = 1 + slope * canvas.x - np.float32(0.05 / 96) * canvas.y
    light += np.float32(0.14) * (np.clip(canvas.edge, 0.4, 1) - np.float32(0.85))
    surface = colour * (light * (1 + texture.brightness))
    # On dark colours a relative change is invisible: textures get an absolute part there.
    lift = np.clip(texture.brightness, -0.1, 1) + np.float32(0.1)
    if product.material not in ("leather", "ceramic"):
        surface += 90 * lift * (1 - colour.mean(0) / np.float32(255))
    if texture.sheen is not None:
        surface += (255 - surface) * texture.sheen
    return surface.astype(np.float32), light.astype(np.float32)


def _two_colours(product: Product, canvas: Canvas, rng: np.random.Generator) -> Map:
    first = _dye(product.colour, rng)
    size = rng.uniform(0.85, 1.2)
    if product.pattern == "plain":
        return np.broadcast_to(first, (3, *canvas.u.shape)).astype(np.float32)
    second = _dye(product.second_colour, rng)
    if product.pattern != "floral":
        share = SIMPLE_PATTERNS[product.pattern](canvas, rng, size)
        return (first + (second - first) * share).astype(np.float32)
    flower, heart = floral(canvas, rng, size)
    colour = first + (second - first) * flower
    yellow = product.second_colour in ("mustard", "white")
    third = np.array((120, 70, 40) if yellow else (250, 222, 120), np.float32)[:, None, None]
    return (colour + (third - colour) * heart).astype(np.float32)


def _dye(name: str, rng: np.random.Generator) -> Map:
    return (np.array(COLOURS[name]) + rng.normal(0, 5, 3)).astype(np.float32)[:, None, None]


def _shade(colour: Map, part: Part, cover: Bytes, side: int) -> Map:
    """Darken a body part towards its own edge, so that parts stand out from each other."""
    if part.kind == "thread":
        return colour * np.float32(0.92)
    inside = np.clip((_blur(cover, 4 * side / 192) - np.float32(0.45)) * np.float32(2.4), 0, 1)
    return colour * (np.float32(part.tone) * (np.float32(0.78) + np.float32(0.22) * inside))


def _stitch(
    colour: Map, canvas: Canvas, inner: tuple[slice, slice], cover: Bytes, side: int
) -> Map:
    """Add the ochre stitching along the edge of a piece of denim."""
    depth = (_blur(cover, 4 * side / 192) - np.float32(0.87)) / np.float32(0.06)
    dashes = np.clip(np.cos((canvas.u[inner] + canvas.v[inner]) * 60) * 3 + 1, 0, 1)
    share = np.exp(-depth * depth) * dashes * np.float32(0.85)
    return colour + (np.array([232, 164, 70], np.float32)[:, None, None] - colour) * share


def _glow(picture: Map, place: Placement) -> None:
    x, y = _grid(picture.shape[1])
    x, y = x - place.shift[0], y - place.shift[1] + np.float32(0.3)
    warm = np.array([1, 0.9, 0.6], np.float32)[:, None, None]
    picture += 28 * np.exp(-3 * (x * x + y * y)) * warm


def _darken(picture: Map, visible: Bytes, rng: np.random.Generator) -> Map:
    """Leave a dim wall and an outline: the surface drowns in the sensor's noise."""
    outline = _blur(visible, 1.0)
    dim = picture * np.float32(rng.uniform(0.22, 0.36))
    black = rng.uniform(6, 14) + 3 * rng.standard_normal(picture.shape, dtype=np.float32)
    return (dim + (black - dim) * np.clip(outline * 1.2, 0, 1)).astype(np.float32)

"""A sketch: the parts of a product as polygons, in units where the product is about 2 wide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]
Point = tuple[float, ...]
"""(x, y), or (control x, control y, x, y) for the end of a quadratic curve. y grows downwards."""
Points = list[tuple[float, float]]

WOOD: Colour = (150, 100, 58)
GOLD: Colour = (212, 172, 82)
STEEL: Colour = (168, 172, 178)
DARK: Colour = (48, 44, 46)
CREAM: Colour = (244, 240, 230)
CURVE_STEPS = 8


@dataclass(frozen=True)
class Part:
    """One polygon or line; `body` parts show the product's surface, the rest has its own colour."""

    kind: Literal["body", "thread", "fill", "line", "seam"]
    points: npt.NDArray[np.float32]
    tone: float = 1.0
    colour: Colour = (0, 0, 0)
    width: float = 0.0


@dataclass
class Sketch:
    """Parts in painting order; later parts cover earlier ones."""

    parts: list[Part] = field(default_factory=list)

    def body(self, points: Sequence[Point], tone: float = 1.0, *, mirrored: bool = False) -> None:
        """Add a piece of the surface; `tone` is its brightness, `mirrored` adds its twin."""
        outline = curve(points)
        self._add("body", outline, tone=tone)
        if mirrored:
            self._add("body", mirror(outline), tone=tone)

    def fill(self, points: Sequence[Point], colour: Colour) -> None:
        """Add a piece with a colour of its own (sole, leg, button)."""
        self._add("fill", curve(points), colour=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Add an open line with a colour of its own (strap, handle)."""
        self._add("line", curve(points), colour=colour, width=width)

    def seam(self, points: Sequence[Point], width: float = 0.014) -> None:
        """Add a thin line that darkens (or, on dark colours, lightens) what is below."""
        self._add("seam", curve(points), width=width)

    def thread(self, points: Sequence[Point], width: float = 0.024) -> None:
        """Add an open line that shows the surface (fringes, tassels)."""
        self._add("thread", curve(points), width=width)

    def _add(
        self,
        kind: Literal["body", "thread", "fill", "line", "seam"],
        points: Points,
        tone: float = 1.0,
        colour: Colour = (0, 0, 0),
        width: float = 0.0,
    ) -> None:
        self.parts.append(Part(kind, np.asarray(points, np.float32), tone, colour, width))


def curve(points: Sequence[Point]) -> Points:
    """Replace each curve by short straight pieces."""
    out: Points = []
    for point in points:
        if len(point) == 2:
            out.append((point[0], point[1]))
            continue
        (x0, y0), (cx, cy, x1, y1) = out[-1], point
        for step in range(1, CURVE_STEPS + 1):
            t = step / CURVE_STEPS
            a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
            out.append((a * x0 + b * cx + c * x1, a * y0 + b * cy + c * y1))
    return out


def mirror(points: Sequence[Point]) -> Points:
    """Reflect at the vertical axis."""
    return [(-x, y) for x, y in curve(points)]


def symmetric(right_half: Sequence[Point]) -> Points:
    """Close an outline given by its right half, from top to bottom."""
    half = curve(right_half)
    return half + [(-x, y) for x, y in reversed(half)]


def ellipse(cx: float, cy: float, rx: float, ry: float, n: int = 36) -> Points:
    """Return `n` points of an ellipse."""
    turns = [2 * math.pi * i / n for i in range(n)]
    return [(cx + rx * math.cos(t), cy + ry * math.sin(t)) for t in turns]


def box(x0: float, y0: float, x1: float, y1: float, r: float = 0.0) -> Points:
    """Return a rectangle, with corners of radius `r`."""
    if r == 0:
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return curve(
        [
            (x0 + r, y0),
            (x1 - r, y0),
            (x1, y0, x1, y0 + r),
            (x1, y1 - r),
            (x1, y1, x1 - r, y1),
            (x0 + r, y1),
            (x0, y1, x0, y1 - r),
            (x0, y0 + r),
            (x0, y0, x0 + r, y0),
        ]
    )


def brightness(colour: Colour) -> float:
    """Return the perceived brightness of a colour, 0 to 255."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]

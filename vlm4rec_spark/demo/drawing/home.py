"""Outlines of armchair, lamp, vase, rug and cushion."""

from __future__ import annotations

import math

from vlm4rec_spark.demo.drawing.sketch import (
    CREAM,
    DARK,
    STEEL,
    WOOD,
    Point,
    Sketch,
    box,
    brightness,
    curve,
    ellipse,
    symmetric,
)
from vlm4rec_spark.demo.products import COLOURS, Product


def armchair(sketch: Sketch, product: Product) -> None:
    """A back, two arms and a seat on four legs."""
    wooden = product.finish == "wooden legs"
    leg, width = (WOOD, 0.075) if wooden else (STEEL, 0.035)
    shade = (int(leg[0] * 0.8), int(leg[1] * 0.8), int(leg[2] * 0.8))
    for side in (1, -1):
        sketch.line([(side * 0.5, 0.5), (side * 0.58, 0.88)], leg, width)
        sketch.line([(side * 0.34, 0.5), (side * 0.36, 0.8)], shade, width)
    top = -0.85 if product.cut == "high-back" else -0.32
    back: list[Point] = [
        (-0.5, 0.2), (-0.56, top + 0.05), (-0.52, top - 0.06, -0.3, top - 0.04), (0.3, top - 0.04),
        (0.52, top - 0.06, 0.56, top + 0.05), (0.5, 0.2),
    ]  # fmt: skip
    sketch.body(back, 0.86)
    for x in (-0.17, 0.17):
        sketch.seam([(x, top + 0.06), (x, 0.06)], 0.016)
    sketch.body(box(-0.46, 0.1, 0.46, 0.36, 0.08), 1.12)
    sketch.body(box(-0.5, 0.34, 0.5, 0.56, 0.05), 0.9)
    sketch.body(box(0.42, -0.08, 0.72, 0.56, 0.1), mirrored=True)


def lamp(sketch: Sketch, product: Product) -> None:
    """A shade, which carries the surface, on a table or floor stand."""
    if product.cut == "floor":
        sketch.line([(0, -0.4), (0, 0.84)], STEEL, 0.04)
        sketch.fill(ellipse(0, 0.86, 0.3, 0.06), STEEL)
        top, bottom, size = -0.9, -0.3, 0.95
    else:
        stand: list[Point] = [
            (-0.05, 0), (0.05, 0), (0.1, 0.15), (0.28, 0.3, 0.24, 0.55), (0.2, 0.72, 0.12, 0.76),
            (-0.12, 0.76), (-0.2, 0.72, -0.24, 0.55), (-0.28, 0.3, -0.1, 0.15),
        ]  # fmt: skip
        sketch.fill(stand, WOOD)
        sketch.fill(box(-0.2, 0.76, 0.2, 0.82), DARK)
        top, bottom, size = -0.74, 0.02, 1.0
    upper, lower = (0.2, 0.58) if product.finish == "cone shade" else (0.46, 0.46)
    shade: list[Point] = [
        (-upper * size, top), (0, top + 0.04, upper * size, top), (lower * size, bottom),
        (0, bottom + 0.06, -lower * size, bottom),
    ]  # fmt: skip
    sketch.body(shade)


def vase(sketch: Sketch, product: Product) -> None:
    """A bottle, a round or a flared vessel, with or without handles."""
    half: list[Point] = {
        "bottle": [
            (0.0, -0.8), (0.13, -0.8), (0.1, -0.4, 0.14, -0.2), (0.46, 0.0, 0.42, 0.4),
            (0.4, 0.74, 0.24, 0.8), (0.0, 0.82),
        ],
        "round": [
            (0.0, -0.5), (0.22, -0.5), (0.2, -0.4, 0.3, -0.34), (0.78, -0.1, 0.66, 0.34),
            (0.56, 0.72, 0.26, 0.76), (0.0, 0.78),
        ],
        "flared": [
            (0.0, -0.74), (0.56, -0.78), (0.3, -0.4, 0.24, 0.1), (0.22, 0.5, 0.34, 0.78),
            (0.0, 0.8),
        ],
    }[product.cut]  # fmt: skip
    if product.finish == "two handles":
        reach, top, low = {
            "bottle": (0.44, -0.62, -0.04), "round": (0.78, -0.42, 0.1), "flared": (0.62, -0.5, 0.2)
        }[product.cut]  # fmt: skip
        for side in (1, -1):
            handle: list[Point] = [
                (side * 0.12, top), (side * (reach + 0.22), top - 0.04, side * (reach + 0.1), low),
                (side * reach, low + 0.2, side * 0.3, low + 0.16),
            ]  # fmt: skip
            sketch.thread(handle, 0.09)
    sketch.body(symmetric(half))
    mouth_y, mouth = half[0][1], half[1][0]
    sketch.fill(ellipse(0, mouth_y + 0.01, mouth * 0.92, 0.045), (60, 54, 52))


def rug(sketch: Sketch, product: Product) -> None:
    """A rug seen from above, with a fringe or a bound edge."""
    is_round = product.cut == "round"
    fringed = product.finish == "fringed edge"
    light = brightness(COLOURS[product.colour]) < 150
    edge = CREAM if light else (70, 60, 58)
    if is_round:
        if fringed:
            for i in range(44):
                turn = 2 * math.pi * i / 44
                x, y = math.cos(turn), math.sin(turn)
                sketch.thread([(0.74 * x, 0.74 * y), (0.92 * x, 0.92 * y)], 0.03)
        else:
            sketch.fill(ellipse(0, 0, 0.88, 0.88, 48), edge)
        sketch.body(ellipse(0, 0, 0.78, 0.78, 48))
        return
    if fringed:
        for i in range(19):
            x = -0.56 + 1.12 * i / 18
            sketch.thread([(x, -0.8), (x, -0.96)], 0.03)
            sketch.thread([(x, 0.8), (x, 0.96)], 0.03)
    else:
        sketch.fill(box(-0.68, -0.92, 0.68, 0.92, 0.03), edge)
    sketch.body(box(-0.6, -0.84, 0.6, 0.84, 0.02))


def cushion(sketch: Sketch, product: Product) -> None:
    """A plump square or a bolster, with tassels or piping."""
    tassels = product.finish == "tassels"
    if product.cut == "square":
        corners = [(-0.72, -0.72), (0.72, -0.72), (0.72, 0.72), (-0.72, 0.72)]
        outline = curve(
            [
                (-0.72, -0.72), (0, -0.54, 0.72, -0.72), (0.54, 0, 0.72, 0.72),
                (0, 0.54, -0.72, 0.72), (-0.54, 0, -0.72, -0.72),
            ]
        )  # fmt: skip
    else:
        corners = [(-0.86, 0.0), (0.86, 0.0)]
        outline = curve(
            [
                (-0.74, -0.34), (0, -0.4, 0.74, -0.34), (0.94, 0, 0.74, 0.34),
                (0, 0.4, -0.74, 0.34), (-0.94, 0, -0.74, -0.34),
            ]
        )  # fmt: skip
    if tassels:
        for x, y in corners:
            for spread in (-0.07, 0.0, 0.07):
                out_x, out_y = x * 1.2 + spread * (y != 0), y * 1.28 + spread
                sketch.thread([(x * 0.96, y * 0.96), (out_x, out_y)], 0.05)
    sketch.body(outline)
    if product.cut == "bolster":
        for side in (1, -1):
            sketch.seam([(side * 0.6, -0.35), (side * 0.7, 0, side * 0.6, 0.35)], 0.03)
    if not tassels:
        light = brightness(COLOURS[product.colour]) < 150
        sketch.line([*outline, outline[0]], CREAM if light else DARK, 0.045)


HOME = {
    "armchair": armchair,
    "lamp": lamp,
    "vase": vase,
    "rug": rug,
    "cushion": cushion,
}

"""Outlines of handbag, sneaker, boot, hat and scarf."""

from __future__ import annotations

from vlm4rec_spark.demo.drawing.sketch import (
    CREAM,
    DARK,
    GOLD,
    WOOD,
    Point,
    Sketch,
    box,
    brightness,
    ellipse,
)
from vlm4rec_spark.demo.products import COLOURS, Product


def handbag(sketch: Sketch, product: Product) -> None:
    """A tote or a flap bag, on a short handle or a long strap."""
    short = product.finish == "short top handle"
    if short:
        handle = DARK if brightness(COLOURS[product.colour]) > 90 else WOOD
        arch: list[Point] = [(-0.25, -0.12), (-0.25, -0.52, 0, -0.52), (0.25, -0.52, 0.25, -0.12)]
        sketch.line(arch, handle, 0.06)
    else:
        arch = [(-0.5, -0.05), (-0.42, -0.95, 0, -0.95), (0.42, -0.95, 0.5, -0.05)]
        sketch.line(arch, GOLD, 0.035)
    if product.cut == "tote":
        tote: list[Point] = [
            (-0.55, -0.15), (0.55, -0.15), (0.46, 0.66), (0.46, 0.72, 0.38, 0.72), (-0.38, 0.72),
            (-0.46, 0.72, -0.46, 0.66),
        ]  # fmt: skip
        sketch.body(tote)
        sketch.seam([(-0.54, -0.07), (0.54, -0.07)], 0.02)
        for side in (1, -1):
            sketch.fill(ellipse(side * (0.25 if short else 0.5), -0.1, 0.04, 0.04, 14), GOLD)
        return
    sketch.body(box(-0.62, -0.1, 0.62, 0.6, 0.1))
    flap: list[Point] = [
        (-0.64, -0.14), (0.64, -0.14), (0.6, 0.2, 0.3, 0.26), (0, 0.34, -0.3, 0.26),
        (-0.6, 0.2, -0.64, -0.14),
    ]  # fmt: skip
    sketch.body(flap, 1.13)
    edge: list[Point] = [
        (-0.62, 0.14), (-0.5, 0.24, -0.3, 0.27), (0, 0.35, 0.3, 0.27), (0.5, 0.24, 0.62, 0.14)
    ]  # fmt: skip
    sketch.seam(edge, 0.02)
    sketch.fill(box(-0.08, 0.2, 0.08, 0.34, 0.03), GOLD)


def sneaker(sketch: Sketch, product: Product) -> None:
    """A side view with laces, a toe cap and a thick sole."""
    high = product.cut == "high-top"
    top = -0.6 if high else -0.22
    upper: list[Point] = [
        (-0.78, 0.3), (-0.84, 0, -0.74, top), (-0.5, top + 0.06, -0.3, top + 0.02),
        (-0.22, top + 0.2, -0.02, -0.05), (0.3, 0.1, 0.6, 0.12), (0.86, 0.16, 0.84, 0.34),
    ]  # fmt: skip
    sketch.body(upper)
    sketch.fill([(0.46, 0.32), (0.44, 0.14, 0.6, 0.12), (0.86, 0.16, 0.84, 0.34)], CREAM)
    heel: list[Point] = [(-0.79, 0.2), (-0.78, 0.05), (-0.5, 0.1, -0.4, 0.34), (-0.78, 0.34)]
    sketch.body(heel, 0.8)
    sole = CREAM if product.finish == "white sole" else (188, 128, 70)
    outline: list[Point] = [
        (-0.84, 0.3), (0.86, 0.3), (0.94, 0.36, 0.88, 0.46), (-0.8, 0.46), (-0.9, 0.42, -0.84, 0.3)
    ]  # fmt: skip
    sketch.fill(outline, sole)
    shade = (int(sole[0] * 0.8), int(sole[1] * 0.8), int(sole[2] * 0.8))
    sketch.line([(-0.82, 0.38), (0.88, 0.38)], shade, 0.016)
    lace = (250, 250, 250) if brightness(COLOURS[product.colour]) < 190 else DARK
    rows = 5 if high else 3
    for i in range(rows):
        along = i / (rows - 1)
        x, y = 0.16 - 0.42 * along, (top + 0.1) * along
        sketch.line([(x - 0.12, y + 0.1), (x + 0.08, y)], lace, 0.035)
    sketch.seam([(-0.35, top + 0.05), (-0.4, 0, -0.2, 0.3)], 0.02)


def boot(sketch: Sketch, product: Product) -> None:
    """A side view with a shaft; a high heel lifts the foot."""
    top = -0.25 if product.cut == "ankle" else -0.86
    high = product.finish == "high heel"
    front: list[Point] = [
        (-0.5, top), (-0.14, top), (-0.16, 0, 0.02, 0.12), (0.3, 0.2, 0.55, 0.26),
        (0.66, 0.34, 0.62, 0.57 if high else 0.42),
    ]  # fmt: skip
    under: list[Point] = (
        [(0.2, 0.58, -0.1, 0.47), (-0.52, 0.3)] if high else [(-0.1, 0.42), (-0.52, 0.42)]
    )
    sketch.body([*front, *under, (-0.52, 0.28 if high else 0.42), (-0.46, -0.1, -0.5, top)])
    sketch.seam([(-0.5, top + 0.07), (-0.14, top + 0.07)], 0.025)
    sketch.seam([(-0.14, 0.08), (-0.3, 0.16, -0.5, 0.1)], 0.016)
    if high:
        sketch.fill([(-0.53, 0.28), (-0.3, 0.34), (-0.42, 0.74), (-0.52, 0.74)], DARK)
        sole: list[Point] = [
            (-0.52, 0.26), (-0.1, 0.44), (0.2, 0.56), (0.62, 0.54), (0.62, 0.6), (0.18, 0.63),
            (-0.12, 0.5), (-0.53, 0.33),
        ]  # fmt: skip
    else:
        sole = [
            (-0.54, 0.4), (0.63, 0.4), (0.66, 0.5), (-0.2, 0.5), (-0.2, 0.57), (-0.54, 0.57)
        ]  # fmt: skip
    sketch.fill(sole, DARK)
    if product.cut == "knee-high":
        sketch.seam([(-0.2, top + 0.1), (-0.2, 0)])


def hat(sketch: Sketch, product: Product) -> None:
    """A wide brim, a cap or a beanie, with or without a band."""
    if product.cut == "wide-brim":
        sketch.body(ellipse(0, 0.22, 0.88, 0.24), 0.85)
        crown: list[Point] = [
            (-0.42, 0.2), (-0.46, -0.4, -0.3, -0.46), (-0.1, -0.36, 0, -0.4),
            (0.1, -0.36, 0.3, -0.46), (0.46, -0.4, 0.42, 0.2), (0, 0.36, -0.42, 0.2),
        ]  # fmt: skip
        sketch.body(crown)
        band: list[Point] = [
            (-0.425, 0.04), (0, 0.2, 0.425, 0.04), (0.42, 0.2), (0, 0.36, -0.42, 0.2)
        ]  # fmt: skip
    elif product.cut == "baseball":
        sketch.body([(-0.5, 0.15), (-0.52, -0.5, 0.02, -0.5), (0.5, -0.48, 0.48, 0.15)])
        peak: list[Point] = [
            (0.1, 0.12), (0.6, 0.02, 0.95, 0.28), (0.7, 0.3, 0.4, 0.24), (0.1, 0.22, -0.05, 0.22)
        ]  # fmt: skip
        sketch.body(peak, 0.75)
        sketch.seam([(0.02, -0.5), (0.12, -0.2, 0.1, 0.14)], 0.016)
        sketch.seam([(-0.1, -0.48), (-0.32, -0.2, -0.3, 0.14)], 0.016)
        sketch.body(ellipse(0.01, -0.51, 0.05, 0.035, 14), 0.7)
        band = [(-0.5, 0.03), (0.48, 0.03), (0.48, 0.16), (-0.5, 0.16)]
    else:
        sketch.body([(-0.44, 0.2), (-0.52, -0.6, 0, -0.62), (0.52, -0.6, 0.44, 0.2)])
        sketch.body(box(-0.48, 0.1, 0.48, 0.36, 0.06), 0.8)
        sketch.body(ellipse(0, -0.66, 0.15, 0.14), 1.1)
        band = [(-0.46, -0.03), (0.46, -0.03), (0.46, 0.1), (-0.46, 0.1)]
    if product.finish == "contrast band":
        light = brightness(COLOURS[product.colour]) < 150
        sketch.fill(band, CREAM if light else (46, 36, 40))


def scarf(sketch: Sketch, product: Product) -> None:
    """A loop with two hanging ends."""
    end = 0.82 if product.cut == "long" else 0.32
    for side, y, tone in ((-1, end - 0.08, 0.92), (1, end, 1.0)):
        x = side * 0.17
        sketch.body([(x - 0.12, -0.35), (x + 0.12, -0.35), (x + 0.16, y), (x - 0.16, y)], tone)
        sketch.seam([(x - 0.02, -0.2), (x + 0.02, y)])
        if product.finish == "fringed ends":
            for i in range(7):
                start = x - 0.145 + i * 0.0485
                sketch.thread([(start, y), (start + 0.01 * (i - 3), y + 0.15)])
        else:
            sketch.seam([(x - 0.155, y - 0.05), (x + 0.155, y - 0.05)], 0.02)
    loop: list[Point] = [
        (-0.42, -0.5), (-0.44, -0.78, 0, -0.78), (0.44, -0.78, 0.42, -0.5),
        (0.4, -0.2, 0, -0.18), (-0.4, -0.2, -0.42, -0.5),
    ]  # fmt: skip
    sketch.body(loop, 1.06)
    sketch.fill([(-0.2, -0.62), (0, -0.72, 0.2, -0.62), (0, -0.5, -0.2, -0.62)], (90, 84, 84))
    sketch.seam([(-0.36, -0.44), (0, -0.2, 0.36, -0.44)], 0.016)


ACCESSORIES = {
    "handbag": handbag,
    "sneaker": sneaker,
    "boot": boot,
    "hat": hat,
    "scarf": scarf,
}

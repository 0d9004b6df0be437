"""Outlines of dress, shirt, trousers, skirt, coat and knitwear."""

from __future__ import annotations

from vlm4rec_spark.demo.drawing.sketch import (
    CREAM,
    DARK,
    GOLD,
    Point,
    Sketch,
    box,
    brightness,
    ellipse,
    symmetric,
)
from vlm4rec_spark.demo.products import COLOURS, Product


def dress(sketch: Sketch, product: Product) -> None:
    """A fitted bodice with a flared skirt."""
    hem, width = {"mini": (0.18, 0.36), "midi": (0.48, 0.46), "maxi": (0.86, 0.58)}[product.cut]
    if product.finish == "short sleeves":
        sleeve: list[Point] = [
            (0.2, -0.8), (0.34, -0.78), (0.46, -0.74, 0.54, -0.5), (0.38, -0.42), (0.25, -0.5)
        ]  # fmt: skip
        sketch.body(sleeve, 0.9, mirrored=True)
    if product.finish == "long sleeves":
        sleeve = [
            (0.2, -0.8), (0.32, -0.78), (0.44, -0.76, 0.48, -0.5), (0.62, 0.04), (0.5, 0.09),
            (0.25, -0.42),
        ]  # fmt: skip
        sketch.body(sleeve, 0.9, mirrored=True)
    if product.finish == "sleeveless":
        neck: list[Point] = [(0, -0.52), (0.12, -0.66, 0.17, -0.84), (0.23, -0.84)]
    else:
        neck = [(0, -0.62), (0.1, -0.66, 0.15, -0.82), (0.3, -0.79)]
    side: list[Point] = [
        (0.24, -0.55, 0.27, -0.42), (0.2, -0.28, 0.19, -0.16), (0.26, 0.1, width, hem - 0.02),
        (width * 0.5, hem + 0.05, 0, hem + 0.05),
    ]  # fmt: skip
    sketch.body(symmetric(neck + side))
    sketch.seam([(-0.19, -0.16), (0, -0.13, 0.19, -0.16)], 0.02)
    for x in (-0.5, 0.0, 0.5):
        sketch.seam([(x * 0.22, -0.05), (x * 0.6 * width, hem * 0.5, x * 1.1 * width, hem)])


def shirt(sketch: Sketch, product: Product) -> None:
    """A straight body; the collared one has buttons down the front."""
    short: list[Point] = [
        (0.2, -0.62), (0.4, -0.55), (0.56, -0.45, 0.66, -0.12), (0.48, -0.04), (0.34, -0.25)
    ]  # fmt: skip
    long: list[Point] = [
        (0.2, -0.62), (0.4, -0.55), (0.58, -0.45, 0.62, -0.1), (0.72, 0.5), (0.56, 0.54),
        (0.34, -0.2),
    ]  # fmt: skip
    sketch.body(short if product.finish == "short sleeves" else long, 0.9, mirrored=True)
    necks: dict[str, list[Point]] = {
        "collared": [(0.0, -0.5), (0.15, -0.64)],
        "round-neck": [(0.0, -0.47), (0.14, -0.48, 0.17, -0.64)],
        "v-neck": [(0.0, -0.22), (0.18, -0.64)],
    }
    neck = necks[product.cut]
    sketch.body(symmetric([*neck, (0.4, -0.55), (0.36, -0.2), (0.38, 0.6), (0.2, 0.68, 0, 0.66)]))
    if product.cut == "collared":
        sketch.body([(0, -0.48), (0.13, -0.7), (0.24, -0.6), (0.13, -0.36)], 1.12, mirrored=True)
        sketch.seam([(0, -0.46), (0, 0.65)], 0.02)
        for i in range(5):
            sketch.fill(ellipse(0, -0.3 + 0.2 * i, 0.022, 0.022, 12), CREAM)
    elif product.cut == "round-neck":
        sketch.seam([(-0.19, -0.63), (-0.16, -0.42, 0, -0.41), (0.16, -0.42, 0.19, -0.63)], 0.025)
    else:
        sketch.seam([(-0.22, -0.63), (0, -0.14), (0.22, -0.63)], 0.025)


def trousers(sketch: Sketch, product: Product) -> None:
    """Two legs, a waistband and pockets."""
    hem = 0.45 if product.finish == "cropped length" else 0.88
    outer, inner = (0.27, 0.08) if product.cut == "slim" else (0.54, 0.1)
    leg: list[Point] = [
        (0, -0.82), (0.28, -0.82), (0.36, -0.5, 0.36, -0.4), (outer, hem), (inner, hem + 0.01),
        (0.01, -0.2), (0, -0.2),
    ]  # fmt: skip
    sketch.body(symmetric(leg))
    sketch.body(box(-0.29, -0.86, 0.29, -0.76), 0.85)
    sketch.seam([(0, -0.76), (0, -0.3)])
    for side in (1, -1):
        sketch.seam([(side * 0.14, -0.74), (side * 0.18, -0.55, side * 0.33, -0.55)])
        sketch.seam([(side * 0.2, -0.4), (side * (outer + inner) / 2, hem - 0.03)])


def skirt(sketch: Sketch, product: Product) -> None:
    """A waistband over a flared or a narrow panel."""
    hem = {"mini": -0.02, "midi": 0.38, "maxi": 0.82}[product.cut]
    flared = product.finish == "A-line cut"
    width = {"mini": 0.5, "midi": 0.64, "maxi": 0.72}[product.cut] if flared else 0.3
    hip = (0.3, -0.4, width, hem) if flared else (0.4, -0.25, width, hem)
    sketch.body(
        symmetric([(0, -0.55), (0.26, -0.55), hip, (width * 0.5, hem + 0.06, 0, hem + 0.06)])
    )
    sketch.body(box(-0.27, -0.62, 0.27, -0.52), 0.82)
    if flared:
        for x in (-0.7, -0.25, 0.25, 0.7):
            sketch.seam([(x * 0.25, -0.5), (x * width, hem)])
    else:
        sketch.seam([(0.06, hem - 0.28), (0.06, hem + 0.05)], 0.02)
        sketch.seam([(-0.13, -0.5), (-0.15, -0.3)])
        sketch.seam([(0.13, -0.5), (0.15, -0.3)])


def coat(sketch: Sketch, product: Product) -> None:
    """Wide lapels over a light top, closed by buttons or a belt."""
    is_long = product.cut == "long"
    hem = 0.82 if is_long else 0.2
    sleeve: list[Point] = [
        (0.2, -0.74), (0.42, -0.68), (0.58, -0.6, 0.62, -0.2), (0.7, 0.22), (0.52, 0.27),
        (0.36, -0.3),
    ]  # fmt: skip
    sketch.body(sleeve, 0.88, mirrored=True)
    half: list[Point] = [
        (0, -0.7), (0.15, -0.8), (0.42, -0.68), (0.36, -0.35), (0.36, -0.1),
        (0.46 if is_long else 0.36, hem), (0.2, hem + 0.04, 0, hem + 0.04),
    ]  # fmt: skip
    sketch.body(symmetric(half))
    lapel: list[Point] = [(0, -0.2), (0.06, -0.74), (0.18, -0.82), (0.3, -0.5), (0.2, -0.44)]
    sketch.body(lapel, 1.15, mirrored=True)
    sketch.fill([(0, -0.24), (-0.07, -0.74), (0.07, -0.74)], CREAM)
    sketch.seam([(0, -0.2), (0, hem + 0.03)], 0.02)
    if product.finish == "a tied belt":
        sketch.body(box(-0.38, -0.1, 0.38, 0.02), 0.62)
        sketch.fill(box(-0.06, -0.12, 0.06, 0.04, 0.02), GOLD)
        sketch.fill(box(-0.025, -0.08, 0.025, 0), DARK)
        sketch.body([(0.05, -0.02), (0.13, -0.02), (0.2, 0.2), (0.1, 0.22)], 0.6)
        return
    button = GOLD if brightness(COLOURS[product.colour]) < 190 else DARK
    for row in range(4 if is_long else 2):
        for side in (1, -1):
            sketch.fill(ellipse(side * 0.12, -0.1 + 0.17 * row, 0.035, 0.035, 14), button)


def knitwear(sketch: Sketch, product: Product) -> None:
    """A roomy jumper or cardigan with ribbed hem and cuffs."""
    is_long = product.finish == "long sleeves"
    sleeve: list[Point] = [
        (0.18, -0.6), (0.44, -0.54), (0.66, -0.42, 0.7, -0.1),
        *([(0.78, 0.36), (0.58, 0.4)] if is_long else [(0.72, 0.02), (0.5, 0.06)]),
        (0.4, -0.15),
    ]  # fmt: skip
    sketch.body(sleeve, 0.9, mirrored=True)
    cuff = [(0.57, 0.38), (0.79, 0.34), (0.77, 0.52), (0.61, 0.55)]
    short_cuff = [(0.49, 0.04), (0.73, 0), (0.73, 0.12), (0.5, 0.16)]
    sketch.body(cuff if is_long else short_cuff, 0.72, mirrored=True)
    open_neck = product.cut == "cardigan"
    neck: list[Point] = [(0, -0.1), (0.17, -0.64)] if open_neck else [(0, -0.52), (0.18, -0.64)]
    sketch.body(symmetric([*neck, (0.44, -0.54), (0.46, 0), (0.44, 0.46), (0, 0.5)]))
    sketch.body(box(-0.43, 0.44, 0.43, 0.62, 0.05), 0.74)
    for i in range(9):
        x = -0.36 + 0.09 * i
        sketch.seam([(x, 0.47), (x, 0.6)], 0.012)
    if product.cut == "turtleneck":
        collar: list[Point] = [
            (-0.2, -0.56), (-0.17, -0.9), (0.17, -0.9), (0.2, -0.56), (0, -0.5, -0.2, -0.56)
        ]  # fmt: skip
        sketch.body(collar, 1.1)
        sketch.seam([(-0.18, -0.74), (0, -0.7, 0.18, -0.74)], 0.02)
    elif open_neck:
        sketch.seam([(-0.18, -0.63), (0, -0.1), (0.18, -0.63)], 0.05)
        sketch.seam([(0, -0.1), (0, 0.6)], 0.024)
        for i in range(4):
            sketch.fill(ellipse(0.055, 0.0 + 0.16 * i, 0.03, 0.03, 12), CREAM)
    else:
        sketch.seam([(-0.2, -0.64), (0, -0.4, 0.2, -0.64)], 0.05)


CLOTHES = {
    "dress": dress,
    "shirt": shirt,
    "trousers": trousers,
    "skirt": skirt,
    "coat": coat,
    "knitwear": knitwear,
}

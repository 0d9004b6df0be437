"""The contact sheet: 48 products on one page, to see what the synthetic shop sells."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vlm4rec_spark.demo.products import NONE, TYPES, sample_product
from vlm4rec_spark.demo.render import render

COLUMNS, ROWS = 8, 6
TILE, GAP = 150, 14
PAPER = (250, 248, 244)
CORNER = 10
STEP = 4
"""Colour values are rounded to multiples of this, which makes the file half as large."""
SHARPER = 2
"""Pictures are drawn this many times larger than shown, which takes out the camera's grain."""


def contact_sheet(seed: int = 3) -> Image.Image:
    """Draw three products of each type, (COLUMNS x ROWS) tiles; the same for the same seed."""
    rng = np.random.default_rng(seed)
    size = (COLUMNS * (TILE + GAP) + GAP, ROWS * (TILE + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    corners = Image.new("L", (TILE * 4, TILE * 4))
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, *corners.size), CORNER * 4, fill=255)
    mask = corners.resize((TILE, TILE), Image.Resampling.LANCZOS)
    kinds = np.concatenate([rng.permutation(TYPES) for _ in range(COLUMNS * ROWS // len(TYPES))])
    for n, kind in enumerate(kinds):
        product = sample_product(rng, str(kind))
        if n % 3 == 0:
            product = replace(product, pattern="plain", second_colour=NONE)
        photo = render(product, seed=int(rng.integers(2**31)), side=TILE * SHARPER)
        tile = Image.fromarray(photo.pixels).resize((TILE, TILE), Image.Resampling.LANCZOS)
        row, column = divmod(n, COLUMNS)
        sheet.paste(tile, (GAP + column * (TILE + GAP), GAP + row * (TILE + GAP)), mask)
    return sheet


def write_sheet(path: Path, seed: int = 3) -> None:
    """Write the sheet as a true-colour PNG, well under 1.5 MB."""
    pixels = np.asarray(contact_sheet(seed), np.uint16)
    rounded = np.minimum((pixels + STEP // 2) // STEP * STEP, 255).astype(np.uint8)
    Image.fromarray(rounded).save(path, "PNG", optimize=True)


def main() -> None:
    """Write the contact sheet: `python -m vlm4rec_spark.demo.sheet [PATH]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    beside = Path(__file__).parent / "contact_sheet.png"
    parser.add_argument("path", nargs="?", type=Path, default=beside)
    write_sheet(parser.parse_args().path)


if __name__ == "__main__":
    main()

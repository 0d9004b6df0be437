"""Draw many examples into memory-mapped arrays, on all cores."""

from __future__ import annotations

import logging
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vlm4rec_spark.demo.training.examples import GRID, STORED_SIDE, labels, make_example, photograph

logger = logging.getLogger(__name__)
CHUNK = 500
MARGIN = 4


@dataclass(frozen=True)
class PictureSet:
    """`pixels` (n, 136, 136, 3) uint8, `cover` (n, 64) uint8, `labels` (n, 11) int64."""

    pixels: npt.NDArray[np.uint8]
    cover: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    numbers: range
    held_out_combination: bool


def draw(
    folder: Path, name: str, numbers: range, *, held_out_combination: bool = False
) -> PictureSet:
    """Draw the examples `numbers`, or map the arrays of an earlier call."""
    chunks = [numbers[i : i + CHUNK] for i in range(0, len(numbers), CHUNK)]
    jobs = [
        (folder / f"{name}-{i:03d}.npz", chunk, held_out_combination)
        for i, chunk in enumerate(chunks)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not job[0].exists()]
    with multiprocessing.get_context("spawn").Pool() as pool:
        for done, _ in enumerate(pool.imap_unordered(_draw_chunk, missing), start=1):
            if done % 10 == 0:
                logger.info("%s: %d of %d pictures", name, done * CHUNK, len(missing) * CHUNK)
    loaded = [np.load(path, allow_pickle=False) for path, _, _ in jobs]
    return PictureSet(
        np.concatenate([a["pixels"] for a in loaded]),
        np.concatenate([a["cover"] for a in loaded]),
        np.concatenate([a["labels"] for a in loaded]),
        numbers,
        held_out_combination,
    )


def _draw_chunk(job: tuple[Path, range, bool]) -> None:
    path, numbers, held_out_combination = job
    n = len(numbers)
    pixels = np.empty((n, STORED_SIDE, STORED_SIDE, 3), np.uint8)
    cover = np.empty((n, GRID * GRID), np.uint8)
    answers = []
    for row, number in enumerate(numbers):
        example = make_example(number, held_out_combination=held_out_combination)
        picture, body = photograph(example)
        pixels[row] = np.asarray(
            picture.resize((STORED_SIDE, STORED_SIDE), Image.Resampling.BICUBIC)
        )
        mask = Image.fromarray(body).resize((STORED_SIDE, STORED_SIDE), Image.Resampling.BOX)
        inner = mask.crop((MARGIN, MARGIN, STORED_SIDE - MARGIN, STORED_SIDE - MARGIN))
        cover[row] = np.asarray(inner.resize((GRID, GRID), Image.Resampling.BOX)).ravel()
        answers.append(labels(example))
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, pixels=pixels, cover=cover, labels=np.stack(answers))
    partial.rename(path)

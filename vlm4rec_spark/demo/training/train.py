"""Train the demo model from nothing: `python -m vlm4rec_spark.demo.training.train`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from vlm4rec_spark.demo.training.export import export
from vlm4rec_spark.demo.training.language import LanguagePlan, train_language
from vlm4rec_spark.demo.training.pictures import draw
from vlm4rec_spark.demo.training.tokenizer import train_tokenizer
from vlm4rec_spark.demo.training.tower import Tower
from vlm4rec_spark.demo.training.train_tower import TowerPlan, train_tower

logger = logging.getLogger(__name__)
MODEL = Path(__file__).parents[1] / "model"
TRAINING = 48_000
HELD_OUT_FROM = 10_000_000
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc keeps freed memory: page faults halved the speed of element-wise steps otherwise."""


def main() -> None:
    """Draw, train tower and language model, export; finished parts in `--work` are reused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo-model"))
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="share of the steps, for a try")
    arguments = parser.parse_args()
    if any(name not in os.environ for name in ALLOCATOR):
        command = [sys.executable, "-m", "vlm4rec_spark.demo.training.train", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ALLOCATOR})  # noqa: S606  # no shell
    arguments.work.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(arguments.work / "training.log")],
    )
    train(arguments.work, arguments.model, arguments.seed, arguments.share)


def train(work: Path, model_folder: Path, seed: int, share: float) -> None:
    """Run all parts; `share` below 1 shortens the schedules."""
    tower_plan, language_plan = TowerPlan(), LanguagePlan()
    tower_plan = replace(
        tower_plan,
        sparse_steps=int(tower_plan.sparse_steps * share),
        full_steps=int(tower_plan.full_steps * share),
    )
    language_plan = replace(language_plan, steps=int(language_plan.steps * share))
    pictures = draw(work / "pictures", "train", range(int(TRAINING * min(1.0, share * 2))))
    held_out = draw(work / "pictures", "held-out", range(HELD_OUT_FROM, HELD_OUT_FROM + 500))
    saved = work / "tower.pt"
    if saved.exists():
        tower = Tower()
        tower.load_state_dict(torch.load(saved, weights_only=True))
        tower.eval()
    else:
        tower = train_tower(pictures, held_out, tower_plan, seed)
        torch.save(tower.state_dict(), saved)
    tokenizer = train_tokenizer()
    model = train_language(tower, tokenizer, pictures, language_plan, seed + 1)
    export(model, tokenizer, model_folder)
    logger.info("wrote %s; measure it with vlm4rec_spark.demo.training.evaluate", model_folder)


if __name__ == "__main__":
    main()

"""Train the vision tower to tell every attribute, from whole pictures and from each patch."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlm4rec_spark.demo.training.examples import HIDDEN_LABEL, VOCABULARIES
from vlm4rec_spark.demo.training.optimise import Optimiser, Schedule
from vlm4rec_spark.demo.training.pictures import MARGIN, PictureSet
from vlm4rec_spark.demo.training.tower import PATCHES, Heads, Tower, cut_patches, normalise

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TowerPlan:
    """First `sparse_steps` see `kept` of the 64 patches (twice the pictures), then all of them."""

    sparse_steps: int = 2000
    full_steps: int = 1600
    sparse_batch: int = 128
    full_batch: int = 64
    kept: int = 36

    @property
    def schedule(self) -> Schedule:
        """Learning rates over all steps."""
        return Schedule(self.sparse_steps + self.full_steps, warm_up=60, flat_share=0.25)


def train_tower(train: PictureSet, held_out: PictureSet, plan: TowerPlan, seed: int) -> Tower:
    """Return the trained tower; accuracy on `held_out` is logged, never used for a choice."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tower, heads = Tower(), Heads()
    optimiser = Optimiser(
        (*tower.parameters(), *heads.parameters()),
        tower.matrices(),
        plan.schedule,
        weight_decay=0.02,
        clip=2.0,
    )
    order, at = rng.permutation(len(train.pixels)), 0
    started, losses = time.monotonic(), []
    for step in range(plan.schedule.steps):
        sparse = step < plan.sparse_steps
        size = plan.sparse_batch if sparse else plan.full_batch
        if at + size > len(order):
            order, at = rng.permutation(len(train.pixels)), 0
        rows, at = np.sort(order[at : at + size]), at + size
        loss = _loss(tower, heads, _batch(train, rows, rng), plan.kept if sparse else None)
        losses.append(optimiser.step(loss, step))
        if step % 100 == 99:
            seconds = time.monotonic() - started
            logger.info("tower %d: loss %.3f, %.0f s", step + 1, np.mean(losses[-100:]), seconds)
        if step % 600 == 599:
            logger.info("held out: %s", tower_accuracy(tower, heads, held_out))
    logger.info("tower, held out: %s", tower_accuracy(tower, heads, held_out))
    return tower.eval()


def _loss(
    tower: Tower, heads: Heads, batch: tuple[Tensor, Tensor, Tensor], kept: int | None
) -> Tensor:
    patches, cover, labels = batch
    if kept is None:
        return heads.loss(tower(normalise(patches, augment=True)), labels, cover)
    chosen = _choose(cover, kept)
    patches = patches.gather(1, chosen[..., None].expand(-1, -1, patches.shape[-1]))
    tokens = tower(normalise(patches, augment=True), chosen)
    return heads.loss(tokens, labels, cover.gather(1, chosen))


def tower_accuracy(tower: Tower, heads: Heads, pictures: PictureSet) -> dict[str, float]:
    """Return the accuracy in per cent of the pooled heads where the label is not hidden."""
    guesses = []
    with torch.no_grad():
        for start in range(0, len(pictures.pixels), 100):
            patches = cut_patches(torch.from_numpy(pictures.pixels[start : start + 100]))
            scores = heads.scores(tower(normalise(patches)))
            guesses.append(torch.stack([s.argmax(1) for s in scores], 1).numpy())
    guess, truth = np.concatenate(guesses), pictures.labels
    out = {}
    for column, name in enumerate(VOCABULARIES):
        known = truth[:, column] != HIDDEN_LABEL
        out[name] = round(100 * float((guess == truth)[known, column].mean()), 1)
    return out


def _batch(
    pictures: PictureSet, rows: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    top, left = rng.integers(0, 2 * MARGIN + 1, 2)
    patches = cut_patches(torch.from_numpy(pictures.pixels[rows]), int(top), int(left))
    cover = torch.from_numpy(pictures.cover[rows]).float() / 255
    return patches, cover, torch.from_numpy(pictures.labels[rows])


def _choose(cover: Tensor, kept: int) -> Tensor:
    """Return random patch positions (n, kept), body patches preferred."""
    luck = torch.rand(len(cover), PATCHES) + 0.6 * (cover > 0.1)
    return luck.topk(kept, 1).indices

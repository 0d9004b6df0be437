"""Hyper-parameters, chosen on a validation part of the training events; never on the test."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.errors import EvaluationError
from vlm4rec_spark.evaluation.arms import Arm, LinearArm, NeighbourArm, WeightedArm
from vlm4rec_spark.evaluation.catalogue import save_array
from vlm4rec_spark.evaluation.items_job import Stage, prepare, read_pairs
from vlm4rec_spark.evaluation.models import ease, neighbours
from vlm4rec_spark.evaluation.spaces_job import FUSED_SPACES
from vlm4rec_spark.evaluation.stage_job import Contender, measure_lists, run_arms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)
NEIGHBOURS = (5, 10, 30, 100)
REGULARISATIONS = (1.0, 10.0, 100.0, 1000.0)
FIRST_WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Choice:
    """The hyper-parameters the test is run with, and where they come from."""

    neighbours: int = 30
    regularisation: float = 100.0
    first_weight: float = 0.5
    told: str = "Hyper-parameters are defaults: there was no validation part."


def tuned(test: Stage, spaces: Mapping[str, int]) -> Choice:
    """Choose by NDCG@k on a validation split of the training rows of the test stage."""
    context = test.context
    config = context.config.evaluate
    wanted = {"item_knn", "ease", "weighted"} & set(config.arms)
    if not all(spaces.get(space) for space in FUSED_SPACES):
        wanted -= {"weighted"}
    if not wanted or not config.validation_share:
        return Choice()
    try:
        stage = prepare(context, test.train, "validation", config.validation_share)
        arms = _grid(stage, wanted, test.catalogue.folder)
    except EvaluationError as error:
        logger.warning("no validation, hyper-parameters stay at their defaults: %s", error)
        return Choice()
    lists = run_arms(stage, [Contender(arm, context.config.profiles) for arm in arms])
    measured, _ = measure_lists(stage, lists, [(arm.name, ()) for arm in arms])
    whole = measured.where("slice = 'everyone' AND pool = 'all' AND variants = 'kept'")
    rows = whole.groupBy("arm").agg(F.avg("NDCG").alias("ndcg")).collect()
    shutil.rmtree(stage.catalogue.folder, ignore_errors=True)
    return _best(arms, {row["arm"]: float(row["ndcg"]) for row in rows}, stage)


def _grid(stage: Stage, wanted: set[str], test_folder: Path) -> list[Arm]:
    folder, pairs, n = stage.catalogue.folder, read_pairs(stage), len(stage.catalogue.items)
    arms: list[Arm] = []
    if "item_knn" in wanted:
        save_array(folder, "model-item_knn", neighbours(pairs, n, max(NEIGHBOURS)))
        arms += [NeighbourArm(f"item_knn {k}", k) for k in NEIGHBOURS]
    if "ease" in wanted:
        for strength in REGULARISATIONS:
            save_array(folder, f"model-ease-{strength}", ease(pairs, n, strength))
            arms.append(LinearArm(f"ease {strength}", f"ease-{strength}"))
    if "weighted" in wanted:
        for space in FUSED_SPACES:
            # The items are the same ones in the same order: the vectors are, too.
            shutil.copy(test_folder / f"space-{space}.npy", folder)
        arms += [WeightedArm(f"weighted {w}", FUSED_SPACES, w) for w in FIRST_WEIGHTS]
    return arms


def _best(arms: list[Arm], scores: dict[str, float], stage: Stage) -> Choice:
    choice = Choice()
    told = ", ".join(f"{name} {score:.4f}" for name, score in sorted(scores.items()))
    for arm in sorted(arms, key=lambda arm: scores.get(arm.name, 0.0)):  # the best comes last
        if isinstance(arm, NeighbourArm):
            choice = replace(choice, neighbours=arm.neighbours)
        elif isinstance(arm, WeightedArm):
            choice = replace(choice, first_weight=arm.first_weight)
        elif isinstance(arm, LinearArm):
            choice = replace(choice, regularisation=float(arm.name.split()[1]))
    return replace(
        choice,
        told=f"Chosen by NDCG on {stage.n_users} users of a validation part of the training "
        f"events, cut {stage.cut}: {choice.neighbours} neighbours, EASE with "
        f"{choice.regularisation:g}, title weight {choice.first_weight:g} ({told}).",
    )

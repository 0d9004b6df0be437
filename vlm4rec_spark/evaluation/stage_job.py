"""Run arms over one split: lists first, then their metrics; both land before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from vlm4rec_spark.evaluation import plan
from vlm4rec_spark.evaluation.measure import UNITS, MeasureSpec
from vlm4rec_spark.evaluation.ranking import RankSpec
from vlm4rec_spark.topk.landing import landed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.config_models import ProfilesConfig
    from vlm4rec_spark.evaluation.arms import Arm
    from vlm4rec_spark.evaluation.items_job import Stage

DIVERSITY_SPACES = ("title", "caption")
"""Diversity is told in both, except of arms that rank with them."""


@dataclass(frozen=True)
class Contender:
    """An arm and the profiles it works with."""

    arm: Arm
    profiles: ProfilesConfig


@dataclass(frozen=True)
class Foreign:
    """Lists of another tool: user_id, item_id, rank."""

    name: str
    given: DataFrame


def run_arms(
    stage: Stage, contenders: Sequence[Contender], foreign: Sequence[Foreign] = ()
) -> DataFrame:
    """Return the lists of all arms in all views, of the same users."""
    folder, k = str(stage.catalogue.folder), stage.context.config.evaluate.k
    by_profile: dict[str, list[Contender]] = {}
    for contender in contenders:
        by_profile.setdefault(contender.profiles.model_dump_json(), []).append(contender)
    parts = []
    for group in by_profile.values():
        spec = RankSpec(folder, tuple(c.arm for c in group), k)
        parts.append(plan.lists(stage.history(group[0].profiles), stage.n_users, spec))
    for other in foreign:
        rows = stage.history(stage.context.config.profiles)
        spec = RankSpec(folder, (), k)
        parts.append(plan.foreign_lists(other.name, other.given, rows, stage.n_users, spec))
    whole = reduce(lambda left, right: left.unionByName(right), parts)
    return landed(stage.context, whole, f"evaluation-{stage.name}-lists")


def measure_lists(
    stage: Stage, lists: DataFrame, arms: Sequence[tuple[str, tuple[str, ...]]]
) -> tuple[DataFrame, MeasureSpec]:
    """Return the metrics of all lists, one row per arm, view and user and per segment and unit.

    Args:
        stage: the split.
        lists: what `run_arms` returned.
        arms: name and spaces of every arm.
    """
    spec = MeasureSpec(
        folder=str(stage.catalogue.folder),
        arms=tuple(arms),
        k=stage.context.config.evaluate.k,
        diversity_spaces=_spaces(stage),
        users_a_unit=max(1, stage.n_users // UNITS),
    )
    found = plan.measured(lists, stage.truth, stage.n_users, spec)
    return landed(stage.context, found, f"evaluation-{stage.name}-measured"), spec


def _spaces(stage: Stage) -> tuple[str, ...]:
    folder = stage.catalogue.folder
    return tuple(s for s in DIVERSITY_SPACES if (folder / f"space-{s}.npy").exists())

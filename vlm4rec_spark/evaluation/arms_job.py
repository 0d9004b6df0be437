"""From the configured names to arms that can run: vectors and models are written for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING

from vlm4rec_spark.errors import EvaluationError
from vlm4rec_spark.evaluation.arms import (
    Arm,
    LinearArm,
    NeighbourArm,
    PopularArm,
    RankFusionArm,
    VectorArm,
    WeightedArm,
)
from vlm4rec_spark.evaluation.catalogue import save_array
from vlm4rec_spark.evaluation.items_job import Stage, read_pairs
from vlm4rec_spark.evaluation.models import Pairs, ease, neighbours, smoothed
from vlm4rec_spark.evaluation.moved import MovedSpaces
from vlm4rec_spark.evaluation.sources_job import read_columns
from vlm4rec_spark.evaluation.spaces_job import CONTROLS, FUSED_SPACES, control_names, read_words
from vlm4rec_spark.evaluation.stage_job import Contender, Foreign
from vlm4rec_spark.profiles.vectors import fusion_of
from vlm4rec_spark.topk.centring import space_of

if TYPE_CHECKING:
    from vlm4rec_spark.config_models import ProfilesConfig
    from vlm4rec_spark.evaluation.tuning_job import Choice

logger = logging.getLogger(__name__)
FROM_PAIRS = ("item_knn", "ease", "smoothed")


@dataclass
class Field:
    """The arms that start, those that cannot and why, and the items each space has vectors of."""

    contenders: list[Contender] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    vectors: dict[str, int] = field(default_factory=dict)

    @property
    def arms(self) -> list[tuple[str, tuple[str, ...]]]:
        """Name and spaces of every arm that starts."""
        return [(c.arm.name, c.arm.spaces) for c in self.contenders] + [
            (other.name, ()) for other in self.foreign
        ]


def line_up(stage: Stage, spaces: dict[str, int], choice: Choice) -> Field:
    """Make every configured arm ready.

    Args:
        stage: the test.
        spaces: items with a vector, by space (`write_spaces`).
        choice: hyper-parameters.

    Raises:
        EvaluationError: the baseline cannot run.
    """
    context, config = stage.context, stage.context.config.evaluate
    line = Field(vectors=spaces)
    more = MovedSpaces(stage.catalogue, cache(partial(read_words, context, stage.catalogue)))
    pairs = _pairs(stage, line)
    for arm in _with_draws(config.arms):
        if arm in line.left_out:
            continue
        try:
            _enter(line, _arm(arm, stage, choice, pairs), context.config.profiles, more)
        except EvaluationError as error:
            line.left_out[arm] = str(error)
    served = context.config.embed.serve_space
    for name, change in config.profile_arms.items():
        changed = change.model_dump(exclude_none=True)
        profiles = context.config.profiles.model_copy(update=changed)
        _enter(line, VectorArm(name, served), profiles, more)
    for source in config.sources:
        if source.holds == "lists":
            line.foreign.append(Foreign(source.name, read_columns(context, source)))
        else:
            arm_of_source = VectorArm(source.name, source.name)
            _enter(line, arm_of_source, context.config.profiles, more)
    for name, why in line.left_out.items():
        logger.warning("arm %s is left out: %s", name, why)
    if config.baseline in line.left_out:
        raise EvaluationError(
            f"The baseline '{config.baseline}' cannot run: {line.left_out[config.baseline]} "
            "Choose another evaluate.baseline."
        )
    return line


def _pairs(stage: Stage, line: Field) -> Pairs | None:
    """Return the pairs of items, None where no arm needs them; too many leave those arms out."""
    wanted = [arm for arm in FROM_PAIRS if arm in stage.context.config.evaluate.arms]
    if not wanted:
        return None
    try:
        return read_pairs(stage)
    except EvaluationError as error:
        line.left_out |= dict.fromkeys(wanted, str(error))
        return None


def _with_draws(arms: Sequence[str]) -> Iterator[str]:
    """Yield the names, and of each control all its draws."""
    for arm in arms:
        yield from control_names(arm) if arm in CONTROLS else (arm,)


def _enter(line: Field, arm: Arm, profiles: ProfilesConfig, spaces: MovedSpaces) -> None:
    empty = [space for space in arm.spaces if line.vectors.get(space, 1) == 0]
    if empty:
        hint = " The extra 'visual' brings a vision model." if "visual" in empty else ""
        line.left_out[arm.name] = f"No item has a vector in {', '.join(empty)}.{hint}"
    else:
        if isinstance(arm, VectorArm):
            arm = profiled(arm, profiles, spaces)
        line.contenders.append(Contender(arm, profiles))


def profiled(arm: VectorArm, profiles: ProfilesConfig, spaces: MovedSpaces) -> VectorArm:
    """Return the arm with the options of profiles that are not in the history it is given.

    The arms that fuse two spaces take these as they are, with one interest.

    Args:
        arm: what ranks.
        profiles: its options.
        spaces: where centred and whitened spaces, and those with facets, come from.
    """
    space = spaces.name(arm.space, space_of(profiles))
    if space != arm.space:
        arm = replace(arm, space=space, made_of=(arm.space, *arm.made_of))
    return replace(arm, interests=profiles.interests, fusion=fusion_of(profiles))


def _arm(name: str, stage: Stage, choice: Choice, pairs: Pairs | None) -> Arm:
    """Return an arm by its name; what it learns from training events is written first."""
    catalogue, n = stage.catalogue, len(stage.catalogue.items)
    if name in ("popular", "recent_popular"):
        return PopularArm(name, recent=name == "recent_popular")
    if pairs is not None and name == "item_knn":
        save_array(catalogue.folder, "model-item_knn", neighbours(pairs, n, choice.neighbours))
        return NeighbourArm(name, choice.neighbours)
    if pairs is not None and name == "ease":
        save_array(catalogue.folder, "model-ease", ease(pairs, n, choice.regularisation))
        return LinearArm(name, "ease")
    if pairs is not None and name == "smoothed":
        served = stage.context.config.embed.serve_space
        save_array(catalogue.folder, "space-smoothed", smoothed(pairs, catalogue.space(served)))
    if name == "weighted":
        return WeightedArm(name, FUSED_SPACES, choice.first_weight)
    if name == "rank_fusion":
        return RankFusionArm(name, FUSED_SPACES)
    return VectorArm(name, name, _made_of(name, stage))


def _made_of(name: str, stage: Stage) -> tuple[str, ...]:
    """Return the spaces behind a space, so that diversity is not measured in them."""
    served = stage.context.config.embed.serve_space
    behind = {
        "concat": FUSED_SPACES,
        "title_caption": ("title", "caption"),
        "smoothed": (served,),
        "shuffled": (),
    }
    return behind.get(name, ())

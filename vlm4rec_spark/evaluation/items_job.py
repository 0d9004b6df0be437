"""Split the log, and write what the workers need to know of the items."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vlm4rec_spark import delta
from vlm4rec_spark.errors import EvaluationError
from vlm4rec_spark.evaluation import plan, split
from vlm4rec_spark.evaluation.catalogue import Catalogue, write_catalogue
from vlm4rec_spark.evaluation.groups import variant_groups
from vlm4rec_spark.evaluation.models import Pairs, check_pairs
from vlm4rec_spark.profiles.plan import history
from vlm4rec_spark.tables import ITEMS
from vlm4rec_spark.topk.landing import landed

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame

    from vlm4rec_spark.config_models import ProfilesConfig
    from vlm4rec_spark.evaluation.fates import Step
    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One split of the log, the test or the validation, ready for the arms."""

    context: RunContext
    name: str
    cut: datetime | None
    steps: list[Step]
    train: DataFrame
    truth: DataFrame
    catalogue: Catalogue
    n_users: int

    def history(self, profiles: ProfilesConfig) -> DataFrame:
        """Return what the test users had before the cut, weighted as a profile asks."""
        is_own = profiles == self.context.config.profiles
        rows = self.own_history if is_own else self._weighted(profiles)
        return rows.join(self.truth.select("user_id").distinct(), "user_id", "left_semi")

    @cached_property
    def own_history(self) -> DataFrame:
        """What all users had before the cut, weighted as the configured profiles ask.

        Written once: pairs of items are counted in it, and most arms rank by it.
        """
        rows = self._weighted(self.context.config.profiles)
        return landed(self.context, rows, f"evaluation-{self.name}-history")

    def _weighted(self, profiles: ProfilesConfig) -> DataFrame:
        return history(self.train, profiles, self.context.config.topk.mask_events)


def prepare(context: RunContext, judged: DataFrame, name: str, share: float) -> Stage:
    """Split the rows and write the items' folder.

    Args:
        context: the run.
        judged: rows of `profiles.plan.events`.
        name: 'test' or 'validation'; names the files.
        share: share of the events after the cut, where the configuration gives no moment.

    Raises:
        EvaluationError: nothing is left to test on; says where the rows went.
    """
    rule = split_rule(context, judged, name, share)
    fated = landed(context, split.with_fates(judged, rule), f"evaluation-{name}-events")
    steps = split.steps(fated)
    for step in steps:
        logger.info("%s split: %9d rows, %7d users, %7d items: %s",
                    name, step.rows, step.users, step.items, step.meaning)  # fmt: skip
    if not any(step.fate == "test" for step in steps):
        told = "; ".join(f"{step.rows} {step.meaning}" for step in steps)
        raise EvaluationError(
            f"The {name} split leaves no test event (cut {rule.cut}; rows: {told}). Move "
            "evaluate.split.cut, or widen evaluate.relevant_events."
        )
    return _stage(context, fated, name, rule.cut, steps)


def split_rule(context: RunContext, judged: DataFrame, name: str, share: float) -> split.SplitRule:
    """Return how the log is split; arguments as of `prepare`.

    Raises:
        EvaluationError: the log holds no usable event.
    """
    settings = context.config.evaluate.split
    given = settings.cut if name == "test" else None
    cut = None if settings.kind == "last_n" else given or split.global_cut(judged, share)
    if cut is None and settings.kind != "last_n":
        raise EvaluationError("The interaction log holds no usable event; see the profiles stage.")
    return split.SplitRule(
        settings.kind,
        cut,
        settings.n,
        context.config.evaluate.relevant_events,
        context.config.topk.mask_events,
    )


def _stage(
    context: RunContext, fated: DataFrame, name: str, cut: datetime | None, steps: list[Step]
) -> Stage:
    items = delta.read(context.spark, ITEMS, context.names)
    table = split.item_facts(fated, items).toArrow()
    numbers = variant_groups(table)
    table = table.append_column("group_no", pa.array(numbers, pa.int64()))
    n_train = next((step.users for step in steps if step.fate == "train"), 0)
    catalogue = write_catalogue(_folder(context, name), table, n_train)
    groups = context.spark.createDataFrame(table.select(["item_id", "group_no"]))
    dated = context.config.sources.items.columns.first_seen is not None
    truth = landed(
        context, split.truth(fated, items, groups, dated=dated), f"evaluation-{name}-truth"
    )
    train = fated.where("fate = 'train'").drop("fate")
    n_users = truth.select("user_id").distinct().count()
    return Stage(context, name, cut, steps, train, truth, catalogue, n_users)


def _folder(context: RunContext, name: str) -> Path:
    """Return a folder of the run; never used twice, as workers keep what they have mapped."""
    root = Path(context.config.topk.index_path).absolute()
    return root / "evaluation" / context.names.schema / f"{context.run_id}-{name}"


def read_pairs(stage: Stage) -> Pairs:
    """Bring the pairs of items that training users have together to the driver.

    Raises:
        EvaluationError: there are more than the driver takes.
    """
    context = stage.context
    n_train = max(stage.catalogue.n_users, 1)
    found = plan.pairs(stage.own_history, n_train, str(stage.catalogue.folder))
    found = landed(context, found, f"evaluation-{stage.name}-pairs")
    check_pairs(found.count())
    table = found.toArrow()
    return Pairs.of(
        *(table[name].to_numpy().astype(np.int64) for name in ("left", "right")),
        *(table[name].to_numpy().astype(np.float64) for name in ("users", "shared")),
    )

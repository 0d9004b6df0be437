"""Reading what the last run left, deciding whether to go on from it, and leaving as much."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.errors import SchemaError
from vlm4rec_spark.refresh import plan
from vlm4rec_spark.refresh.changes import NOTHING, ItemChanges, item_changes
from vlm4rec_spark.refresh.lists import WHOLE
from vlm4rec_spark.refresh.state import Drift, State, why_anew
from vlm4rec_spark.topk.landing import landed, landing
from vlm4rec_spark.topk.snapshot import Beside, load_snapshot
from vlm4rec_spark.topk.snapshot_files import write_array

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.table_spec import TableSpec
    from vlm4rec_spark.topk.engines.choice import EngineSpec
    from vlm4rec_spark.topk.snapshot import Vectors

logger = logging.getLogger(__name__)
NO_VECTORS = np.zeros((0, 0), np.float32)
ASKED = "topk.refresh is full"


@dataclass(frozen=True)
class Stage:
    """A stage that can go on from its last run."""

    name: str
    tables: tuple[TableSpec, ...]
    now: State
    """What shapes it now; rows and users are filled in when it has finished."""
    together: str | None = None
    """Why any change of items changes everything; None: it does not."""


@dataclass(frozen=True)
class Start:
    """Where a stage starts from."""

    stage: Stage
    history: DataFrame
    """Rows of `history`; where only what changed is made, those of `plan.marked`."""
    anew: str | None = None
    """Why everything is made anew; None: only what changed is."""
    before: State | None = None
    users: DataFrame | None = None
    """What was kept of each user; None: nothing."""
    changes: ItemChanges = NOTHING
    departed: Vectors = field(default_factory=lambda: NO_VECTORS)
    """(m, d) vectors that items had which can leave lists."""
    drift: Drift | None = None

    @property
    def lost(self) -> DataFrame:
        """Return user_id of those whom the log no longer names."""
        if self.users is None:
            raise SchemaError("There is no last run: everything is made anew.")
        return plan.gone(self.history, self.users)

    def searched_by(self, engine: EngineSpec) -> Start:
        """Return the same with the search that the lists are made with."""
        now = replace(self.stage.now, engine=(engine.name, engine.width))
        return replace(self, stage=replace(self.stage, now=now))

    @property
    def told(self) -> str:
        """Say in words for the run's row that everything is made anew, if so unasked."""
        return "" if self.anew in (None, ASKED) else f"; all made anew: {self.anew}"

    @property
    def counts(self) -> dict[str, int]:
        """What to report."""
        if self.anew == ASKED:
            return {}
        counts = {"made_anew": int(self.anew is not None)}
        if self.drift:
            counts |= {
                "users_changed": self.drift.users_changed,
                "items_changed": self.drift.items_changed,
            }
        return counts


def begin(context: RunContext, stage: Stage, history: DataFrame) -> Start:
    """Compare what there is with what the last run was made from.

    Args:
        context: the run.
        stage: what starts.
        history: rows of `history` with `fingerprint`.
    """
    topk = context.config.topk
    if topk.refresh == "full":
        return Start(stage, history, ASKED)
    start = _compared(context, stage, history)
    if start.anew is None and start.drift:
        start = replace(start, anew=start.drift.beyond(topk.rebuild_above))
    if start.anew is None and start.changes.count and stage.together:
        start = replace(start, anew=f"items changed, and {stage.together}")
    if start.anew is not None:
        logger.info("%s: everything is made anew: %s", stage.name, start.anew)
        return replace(start, history=history)
    logger.info("%s: only what changed is made: %s", stage.name, start.drift)
    return start


def _compared(context: RunContext, stage: Stage, history: DataFrame) -> Start:
    before = State.read(_file(context, stage))
    rows = _table_rows(context, stage) if before else {}
    anew = why_anew(before, replace(stage.now, rows=rows))
    if anew or before is None:
        return Start(stage, history, anew)
    try:
        old = load_snapshot(before.snapshot, Beside(allowed=before.allowed or None))
    except (SchemaError, OSError):
        return Start(stage, history, "the item matrix of the last run is gone")
    now = load_snapshot(stage.now.snapshot, Beside(allowed=stage.now.allowed or None))
    changes = item_changes(old, now)
    departed = np.ascontiguousarray(old.vectors[changes.departed])
    users = context.spark.read.schema(plan.USERS).parquet(before.users)
    named = delta.ids_frame(context.spark, changes.named)
    marked = plan.marked(history, users, named)
    drift = _drift(marked, plan.gone(history, users).count(), len(now), changes)
    return Start(stage, marked, None, before, users, changes, departed, drift)


def _drift(marked: DataFrame, lost: int, items: int, changes: ItemChanges) -> Drift:
    per_user = marked.groupBy("user_id").agg(F.bool_or(WHOLE).alias(WHOLE))
    row = per_user.agg(F.count("*").alias("n"), F.count_if(WHOLE).alias("changed")).first()
    n, changed = (int(row["n"]), int(row["changed"])) if row else (0, 0)
    return Drift(n, changed + lost, items, changes.count)


def moved_names(start: Start) -> plan.MovedNames:
    """Write what can enter and leave lists beside the matrix."""
    folder = Path(start.stage.now.snapshot)
    arrived = write_array(folder, "arrived", start.changes.arrived)
    return plan.MovedNames(arrived, write_array(folder, "departed", start.departed))


def writing(context: RunContext, stage: Stage) -> None:
    """Take back that the last run finished, before the first table changes.

    A run that dies after this leaves tables that no run can go on from.
    """
    _file(context, stage).unlink(missing_ok=True)


def finish(
    context: RunContext, start: Start, history: DataFrame, floors: DataFrame | None = None
) -> None:
    """Keep what the next run goes on from; nothing where `topk.refresh` is full.

    Args:
        context: the run.
        start: where this run started from.
        history: all rows of `history` with `fingerprint`.
        floors: user_id and floor of each list that was made anew; None: the stage has none.
    """
    if context.config.topk.refresh == "full":
        return
    stage = start.stage
    last = Path(start.before.users).name if start.before and start.users is not None else ""
    name = f"kept-{stage.name}-{0 if last.endswith('1') else 1}"
    if floors is None:
        floors = context.spark.createDataFrame([], "user_id STRING, floor DOUBLE")
    kept = plan.kept_users(history, floors, None if start.anew else start.users)
    landed(context, kept, name)
    users = landing(context, name)
    state = replace(stage.now, rows=_table_rows(context, stage), users=str(users))
    state.write(_file(context, stage))
    for other in users.parent.glob(f"kept-{stage.name}-*"):
        if other != users:
            shutil.rmtree(other, ignore_errors=True)


def _file(context: RunContext, stage: Stage) -> Path:
    return landing(context, f"{stage.name}-state.json")


def _table_rows(context: RunContext, stage: Stage) -> dict[str, int]:
    return {
        spec.name: delta.read(context.spark, spec, context.names).count() for spec in stage.tables
    }

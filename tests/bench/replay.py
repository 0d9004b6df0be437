"""The arithmetic of the recommend job once more, in Spark's workers, with a clock around it.

Blocks of users as the job makes them, in workers as the job has them, two at a time: what is timed
is the CPU time of the worker's own process, after a few users have loaded the compiled code. It
covers profiles, the engine's search and the exact scores of what it found; grouping, masks, checks,
reasons and tables are left out. The figures are of a sample of the blocks, scaled by users;
neighbours are those of all items.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.profiles.job import take_history
from vlm4rec_spark.profiles.plan import USERS_A_SEARCH, blocks
from vlm4rec_spark.profiles.vectors import Histories, histories, query_profiles
from vlm4rec_spark.topk.engines.choice import open_engine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.lists import ListSpec, block_lists, near_profiles, seen_masks
from vlm4rec_spark.topk.lists_job import ITEMS_A_TASK
from vlm4rec_spark.topk.plan import ITEMS_A_BLOCK
from vlm4rec_spark.topk.ranking import ranked

if TYPE_CHECKING:
    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.topk.plan import SearchSpec
    from vlm4rec_spark.topk.snapshot import Snapshot

WARM_UP = 64
TIMED = "users LONG, profiles DOUBLE, search DOUBLE, lists DOUBLE"


@dataclass(frozen=True)
class Arithmetic:
    """CPU seconds of the job's arithmetic in its workers."""

    profiles: float
    """Profiles of all users, made once; the job makes them in both stages."""
    search: float
    """Search and exact scores for all users."""
    lists: float
    """All that turns histories into lists, the two above and reasons included."""
    neighbours: float
    """Search and exact scores for all items."""

    @property
    def total(self) -> float:
        """CPU seconds that count as engine and profile arithmetic."""
        return 2 * self.profiles + self.search + self.neighbours


def arithmetic(context: RunContext, spec: SearchSpec, n_users: int, n_blocks: int) -> Arithmetic:
    """Measure some blocks of users, and all items.

    Args:
        context: the run that has made the lists.
        spec: how it made them.
        n_users: users with a history.
        n_blocks: blocks that are measured.
    """
    some = blocks(take_history(context), n_users, USERS_A_SEARCH).where(F.col("block") < n_blocks)
    timed = some.groupBy("block").applyInArrow(_timed_lists(spec), TIMED).toArrow()
    users, *seconds = (float(np.sum(column.to_numpy())) for column in timed.columns)
    n = len(spec.open())
    ids = context.spark.range(0, n, 1, max(1, -(-n // ITEMS_A_TASK)))
    timed = ids.mapInArrow(
        _timed_neighbours(spec, context.config.topk.similar_k), "seconds DOUBLE"
    ).toArrow()
    neighbours = float(np.sum(timed["seconds"].to_numpy()))
    profiles, search, lists = (n_users / users * taken for taken in seconds)
    return Arithmetic(profiles, search, lists, neighbours)


def _timed_lists(spec: SearchSpec) -> Callable[[pa.Table], pa.Table]:
    def timed(table: pa.Table) -> pa.Table:
        snapshot = spec.open()
        block = histories(table, snapshot.find(table["item_id"].combine_chunks()))
        few = block.some(np.arange(min(WARM_UP, len(block.users))))
        block_lists(snapshot, few, spec.lists)
        profiles, search = _passes(snapshot, block, spec.lists)
        started = time.process_time()
        block_lists(snapshot, block, spec.lists)
        taken = time.process_time() - started
        row = {"users": len(block.users), "profiles": profiles, "search": search, "lists": taken}
        return pa.Table.from_pylist([row])

    return timed


def _passes(snapshot: Snapshot, block: Histories, spec: ListSpec) -> tuple[float, float]:
    """Return the CPU seconds of the profiles of a block, and of its search with exact scores."""
    masks = seen_masks(snapshot, block)
    started = time.process_time()
    profiles = query_profiles(snapshot.vectors, block, spec.interests, spec.fusion)
    between = time.process_time()
    part = masks.of(profiles.known)
    candidates = near_profiles(snapshot, open_engine(spec.engine, snapshot), profiles)
    candidates.best(np.arange(len(profiles.known)), spec.k, part)
    return between - started, time.process_time() - between


def _timed_neighbours(
    spec: SearchSpec, k: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def timed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        seconds = 0.0
        for batch in batches:
            ids = batch.column("id").to_numpy()
            _neighbours(spec, ids[:WARM_UP], k)
            for start in range(0, len(ids), ITEMS_A_BLOCK):
                seconds += _neighbours(spec, ids[start : start + ITEMS_A_BLOCK], k)
        yield pa.RecordBatch.from_pydict({"seconds": [seconds]})

    return timed


def _neighbours(spec: SearchSpec, targets: npt.NDArray[np.int64], k: int) -> float:
    """Return the CPU seconds of finding the neighbours of some rows, as `plan.neighbours` does."""
    snapshot, n = spec.open(), len(targets)
    masks = Masks(targets, np.arange(n + 1), snapshot.allowed, np.zeros(n, np.int64))
    started = time.process_time()
    engine = open_engine(spec.lists.engine, snapshot)
    ranked(snapshot, engine, np.ascontiguousarray(snapshot.vectors[targets]), k, masks)
    return time.process_time() - started

"""Frames in, frames out: lists per user, neighbours per item. Only ids and weights travel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.profiles.plan import ABOUT_USERS, USERS_A_SEARCH, blocks
from vlm4rec_spark.profiles.vectors import histories
from vlm4rec_spark.table_spec import schema_ddl
from vlm4rec_spark.tables import COMPLEMENTS, RECOMMENDATIONS, SIMILAR_ITEMS
from vlm4rec_spark.topk.engines.choice import open_engine, open_parted
from vlm4rec_spark.topk.engines.parts import (
    NOTES,
    QUESTIONS,
    Foreseen,
    Listener,
    parts,
    searched,
)
from vlm4rec_spark.topk.list_table import FLOOR, places
from vlm4rec_spark.topk.lists import (
    ListSpec,
    allowed_lines,
    block_lists,
    checked_neighbours,
    first_candidates,
    nearest_items,
)
from vlm4rec_spark.topk.outfits import Completion, completed
from vlm4rec_spark.topk.reasons import SHOWN, complement_reasons, similar_reasons
from vlm4rec_spark.topk.snapshot import Beside, Snapshot, load_snapshot, read_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame

    from vlm4rec_spark.profiles.vectors import Histories
    from vlm4rec_spark.topk.engines.interface import Engine
    from vlm4rec_spark.topk.ranking import Ranked
    from vlm4rec_spark.topk.wardrobe import Wardrobe

ITEMS_A_BLOCK = 4096
USERS_A_LATE_SEARCH = 256
"""Of late fusion in shards: a user asks for each liked item, and what all shards have for all users
of a block comes together."""


@dataclass(frozen=True)
class SearchSpec:
    """What a worker needs to make lists."""

    snapshot: str
    """Folder of the item matrix."""
    beside: Beside
    """Arrays of the run in that folder."""
    lists: ListSpec
    run_id: str
    """Run that writes the rows."""
    shards: int = 1
    """Parts of the item matrix that are searched by tasks of their own."""

    def open(self) -> Snapshot:
        """Map the item matrix; once per process."""
        return load_snapshot(self.snapshot, self.beside)

    def engine(self, snapshot: Snapshot) -> Engine:
        """Open the engine in a task, with as many threads as the task has CPUs."""
        context = TaskContext.get()
        return open_engine(self.lists.engine, snapshot, context.cpus() if context else 1)


def recommendations(
    history: DataFrame, n_users: int, spec: SearchSpec, found: DataFrame | None = None
) -> DataFrame:
    """Return rows of `recommendations` and their floor (`Ranked`), from rows of `history`.

    Args:
        history: rows of `history`.
        n_users: how many users there are.
        spec: how lists are made.
        found: `notes` of the shards on `questions`; None: the whole matrix is searched.
    """
    schema = RECOMMENDATIONS.arrow_schema().append(pa.field(FLOOR, pa.float64()))

    def make(snapshot: Snapshot, table: pa.Table, engine: Engine) -> pa.Table:
        made = block_lists(snapshot, _histories(snapshot, table), spec.lists, engine)
        return as_written(made, schema, spec.run_id)

    ddl = f"{RECOMMENDATIONS.spark_ddl()}, {FLOOR} DOUBLE"
    return _made(_in_blocks(history, n_users, spec), found, spec, make, ddl)


def _in_blocks(history: DataFrame, n_users: int, spec: SearchSpec) -> DataFrame:
    is_late = spec.shards > 1 and spec.lists.fusion.is_late
    rows = blocks(history, n_users, USERS_A_LATE_SEARCH if is_late else USERS_A_SEARCH)
    return rows.select("block", "user_id", "item_id", "weight", "seen", *ABOUT_USERS)


def _histories(snapshot: Snapshot, table: pa.Table) -> Histories:
    return histories(table, snapshot.find(table["item_id"].combine_chunks()))


def questions(history: DataFrame, n_users: int, spec: SearchSpec) -> DataFrame:
    """Return what is asked to make `recommendations`; see `parts`.

    To be kept, as each shard reads it: what is asked depends on items all over the matrix.
    """

    def listen(table: pa.Table) -> pa.Table:
        snapshot, listener = spec.open(), Listener(table["block"][0].as_py())
        first_candidates(snapshot, _histories(snapshot, table), spec.lists, listener)
        return listener.questions()

    rows = _in_blocks(history, n_users, spec)
    return rows.groupBy("block").applyInArrow(listen, schema_ddl(QUESTIONS))


def notes(asked: DataFrame, spec: SearchSpec) -> DataFrame:
    """Return what each shard has for `questions`; see `parts`.

    A task sees one shard. They run shard by shard, so that a node has the pages of one or two
    shards in memory at a time.
    """

    def search(shard: int) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
        def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            snapshot = spec.open()
            engine, allowed = open_parted(spec.lists.engine, snapshot), allowed_lines(snapshot)
            part = parts(len(snapshot), spec.shards)[shard]
            for batch in batches:
                table = pa.Table.from_batches([batch])
                yield from searched(table, allowed, engine, part).to_batches()

        return build

    shards = [asked.mapInArrow(search(shard), schema_ddl(NOTES)) for shard in range(spec.shards)]
    return reduce(lambda one, other: one.union(other), shards)


def _made(
    rows: DataFrame,
    found: DataFrame | None,
    spec: SearchSpec,
    make: Callable[[Snapshot, pa.Table, Engine], pa.Table],
    ddl: str,
) -> DataFrame:
    """Return what is made of each block of rows, with what was found for it where it was."""

    def anew(table: pa.Table) -> pa.Table:
        snapshot = spec.open()
        return make(snapshot, table, spec.engine(snapshot))

    def merged(table: pa.Table, notes: pa.Table) -> pa.Table:
        snapshot = spec.open()
        engine = spec.engine(snapshot)
        return make(snapshot, table, Foreseen(engine, notes, spec.shards))

    by_block = rows.groupBy("block")
    if found is None:
        return by_block.applyInArrow(anew, ddl)
    return by_block.cogroup(found.groupBy("block")).applyInArrow(merged, ddl)


def similar_items(rows: DataFrame, spec: SearchSpec) -> DataFrame:
    """Return rows of `similar_items`, from column `id`: rows of the item matrix."""
    rows, ddl = rows.select("id"), SIMILAR_ITEMS.spark_ddl()
    if spec.shards == 1:
        return rows.mapInArrow(_neighbours(spec), ddl)

    def listen(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        snapshot = spec.open()
        for batch in batches:
            ids = batch.column("id").to_numpy()
            for block in np.unique(ids // ITEMS_A_BLOCK).tolist():
                listener = Listener(block)
                targets = ids[ids // ITEMS_A_BLOCK == block]
                nearest_items(snapshot, targets, spec.lists.k, listener)
                yield from listener.questions().to_batches()

    def make(snapshot: Snapshot, table: pa.Table, engine: Engine) -> pa.Table:
        targets = np.sort(table["id"].to_numpy())
        made = neighbours(snapshot, targets, spec.lists.k, engine)
        return as_written(made, SIMILAR_ITEMS.arrow_schema(), spec.run_id)

    found = notes(rows.mapInArrow(listen, schema_ddl(QUESTIONS)), spec)
    in_blocks = rows.selectExpr("id", f"id div {ITEMS_A_BLOCK} AS block")
    return _made(in_blocks, found, spec, make, ddl)


def _neighbours(
    spec: SearchSpec,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = SIMILAR_ITEMS.arrow_schema()

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        snapshot = spec.open()
        engine = spec.engine(snapshot)
        for batch in batches:
            ids = batch.column("id").to_numpy()
            for start in range(0, len(ids), ITEMS_A_BLOCK):
                targets = ids[start : start + ITEMS_A_BLOCK]
                table = neighbours(snapshot, targets, spec.lists.k, engine)
                yield from as_written(table, schema, spec.run_id).to_batches()

    return build


def neighbours(
    snapshot: Snapshot, targets: npt.NDArray[np.int64], k: int, engine: Engine
) -> pa.Table:
    """Return the nearest items of some rows; columns: those of `similar_items` but run_id.

    Raises:
        InvariantError: see `block_lists`.
    """
    found = checked_neighbours(snapshot, targets, k, engine)
    return neighbour_table(snapshot, found, targets)


def neighbour_table(snapshot: Snapshot, found: Ranked, targets: npt.NDArray[np.int64]) -> pa.Table:
    """Return rows of `similar_items` but run_id, from a line of neighbours for each target."""
    flat = places(found, targets)
    shared = snapshot.words.shared(flat.users, flat.rows, SHOWN)
    return pa.table(
        {
            "target_item_id": snapshot.ids.take(pa.array(flat.users)),
            "rank": pa.array(flat.ranks),
            "item_id": snapshot.ids.take(pa.array(flat.rows)),
            "score": pa.array(flat.scores),
            "reason": similar_reasons(shared),
        }
    )


def complements(places: DataFrame, wardrobe: Wardrobe, order: str, spec: SearchSpec) -> DataFrame:
    """Return rows of `complements`.

    Args:
        places: `id`, ascending numbers of places in the order.
        wardrobe: the cells.
        order: array beside the matrix with the items cell by cell.
        spec: matrix, length of a list, run.
    """
    schema = COMPLEMENTS.arrow_schema()

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        snapshot, rows = spec.open(), read_array(spec.snapshot, order)
        for batch in batches:
            ids = batch.column("id").to_numpy()
            part = (int(ids[0]), int(ids[-1]) + 1) if len(ids) else (0, 0)
            for found in completed(snapshot, wardrobe, rows, part, spec.lists.k):
                table = completions(snapshot, wardrobe, found)
                yield from as_written(table, schema, spec.run_id).to_batches()

    return places.select("id").mapInArrow(build, COMPLEMENTS.spark_ddl())


def completions(snapshot: Snapshot, wardrobe: Wardrobe, found: Completion) -> pa.Table:
    """Return what completes some items; columns: those of `complements` but run_id."""
    slots = pa.array(wardrobe.slots, pa.string()).take(pa.array(found.slots))
    shared = snapshot.words.shared(found.targets, found.rows, SHOWN)
    return pa.table(
        {
            "target_item_id": snapshot.ids.take(pa.array(found.targets)),
            "rank": pa.array(found.ranks),
            "item_id": snapshot.ids.take(pa.array(found.rows)),
            "slot": slots,
            "score": pa.array(found.scores),
            "reason": complement_reasons(slots, shared),
        }
    )


def as_written(table: pa.Table, schema: pa.Schema, run_id: str) -> pa.Table:
    """Return the columns of a table in its order and types, with the run."""
    table = table.append_column("run_id", pa.array([run_id] * len(table), pa.string()))
    return table.select(schema.names).cast(schema)


def sampled(history: DataFrame, users: int, purpose: str) -> DataFrame:
    """Return the history of `users` users, the same ones in every run for one purpose."""
    chosen = (
        history.where("weight > 0")
        .select("user_id")
        .distinct()
        .orderBy(F.xxhash64(F.lit(purpose), "user_id"), "user_id")
        .limit(users)
    )
    return history.join(chosen, "user_id", "left_semi")

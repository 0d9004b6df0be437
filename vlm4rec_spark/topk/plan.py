"""Frames in, frames out: lists per user, neighbours per item. Only ids and weights travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.profiles.plan import USERS_A_SEARCH, blocks
from vlm4rec_spark.profiles.vectors import histories
from vlm4rec_spark.tables import COMPLEMENTS, RECOMMENDATIONS, SIMILAR_ITEMS
from vlm4rec_spark.topk.engines.choice import open_engine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.lists import FLOOR, ListSpec, block_lists, places
from vlm4rec_spark.topk.outfits import Completion, completed
from vlm4rec_spark.topk.ranking import ranked
from vlm4rec_spark.topk.reasons import SHOWN, complement_reasons, similar_reasons
from vlm4rec_spark.topk.snapshot import Beside, Snapshot, load_snapshot, read_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame

    from vlm4rec_spark.topk.ranking import Ranked
    from vlm4rec_spark.topk.wardrobe import Wardrobe

ITEMS_A_BLOCK = 4096


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

    def open(self) -> Snapshot:
        """Map the item matrix; once per process."""
        return load_snapshot(self.snapshot, self.beside)


def recommendations(history: DataFrame, n_users: int, spec: SearchSpec) -> DataFrame:
    """Return rows of `recommendations` and their floor (`Ranked`), from rows of `history`."""
    schema = RECOMMENDATIONS.arrow_schema().append(pa.field(FLOOR, pa.float64()))

    def build(table: pa.Table) -> pa.Table:
        snapshot = spec.open()
        block = histories(table, snapshot.find(table["item_id"].combine_chunks()))
        return as_written(block_lists(snapshot, block, spec.lists), schema, spec.run_id)

    return (
        blocks(history, n_users, USERS_A_SEARCH)
        .select("block", "user_id", "item_id", "weight", "seen", "segment")
        .groupBy("block")
        .applyInArrow(build, f"{RECOMMENDATIONS.spark_ddl()}, {FLOOR} DOUBLE")
    )


def similar_items(rows: DataFrame, spec: SearchSpec) -> DataFrame:
    """Return rows of `similar_items`, from column `id`: rows of the item matrix."""
    return rows.select("id").mapInArrow(_neighbours(spec), SIMILAR_ITEMS.spark_ddl())


def _neighbours(
    spec: SearchSpec,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = SIMILAR_ITEMS.arrow_schema()

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        snapshot = spec.open()
        for batch in batches:
            ids = batch.column("id").to_numpy()
            for start in range(0, len(ids), ITEMS_A_BLOCK):
                table = neighbours(snapshot, ids[start : start + ITEMS_A_BLOCK], spec)
                yield from as_written(table, schema, spec.run_id).to_batches()

    return build


def neighbours(snapshot: Snapshot, targets: npt.NDArray[np.int64], spec: SearchSpec) -> pa.Table:
    """Return the nearest items of some rows; columns: those of `similar_items` but run_id."""
    itself = Masks(
        hidden=targets,
        starts=np.arange(len(targets) + 1),
        allowed=snapshot.allowed,
        group=np.zeros(len(targets), np.int64),
    )
    queries = np.ascontiguousarray(snapshot.vectors[targets])
    engine = open_engine(spec.lists.engine, snapshot)
    return neighbour_table(
        snapshot, ranked(snapshot, engine, queries, spec.lists.k, itself), targets
    )


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

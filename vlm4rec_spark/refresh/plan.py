"""Frames in, frames out: who changed, what is made anew for whom, and what a table then lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.profiles.plan import ABOUT_USERS, USERS_A_SEARCH, blocks
from vlm4rec_spark.profiles.vectors import histories
from vlm4rec_spark.refresh.lists import (
    WHOLE,
    Marks,
    Moved,
    flagged,
    refreshed_lists,
    refreshed_neighbours,
    with_empty,
)
from vlm4rec_spark.tables import RECOMMENDATIONS, SIMILAR_ITEMS
from vlm4rec_spark.topk.list_table import FLOOR
from vlm4rec_spark.topk.plan import SearchSpec, as_written, neighbour_table
from vlm4rec_spark.topk.snapshot import read_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame

    from vlm4rec_spark.tables import TableSpec

OF_PLACE = "is_whole BOOLEAN"
USERS = "user_id STRING, fingerprint BIGINT, floor DOUBLE"
"""What a run keeps of each user for the next one."""


@dataclass(frozen=True)
class MovedNames:
    """Names of arrays beside the matrix; see `lists.Moved`."""

    arrived: str
    departed: str

    def open(self, folder: str) -> Moved:
        """Map them."""
        return Moved(read_array(folder, self.arrived), read_array(folder, self.departed))


def marked(history: DataFrame, before: DataFrame, named: DataFrame) -> DataFrame:
    """Add `is_whole` and `floor` to rows of `history`.

    Args:
        history: rows with `fingerprint`.
        before: `USERS` of the last run.
        named: item_id, those whose facts changed.
    """
    by_item = history.join(named, "item_id", "left_semi").select("user_id").distinct()
    known = before.select("user_id", F.col("fingerprint").alias("was"), "floor")
    return (
        history.join(known, "user_id", "left")
        .join(by_item.withColumn("names_changed", F.lit(True)), "user_id", "left")
        .withColumn(WHOLE, F.expr("was IS NULL OR was <> fingerprint OR names_changed IS NOT NULL"))
        .drop("was", "names_changed")
    )


def gone(history: DataFrame, before: DataFrame) -> DataFrame:
    """Return user_id of those whom the log no longer names."""
    return before.select("user_id").join(history.select("user_id"), "user_id", "left_anti")


def lists(rows: DataFrame, n_users: int, spec: SearchSpec, names: MovedNames) -> DataFrame:
    """Return rows of `recommendations` with `floor`, `is_whole`, from rows of `marked`."""
    schema = _with_whole(RECOMMENDATIONS).append(pa.field(FLOOR, pa.float64()))

    def build(table: pa.Table) -> pa.Table:
        snapshot = spec.open()
        block = histories(table, snapshot.find(table["item_id"].combine_chunks()))
        moved = names.open(spec.snapshot)
        engine = spec.engine(snapshot)
        made = refreshed_lists(snapshot, block, Marks.of(table), moved, spec.lists, engine)
        return as_written(made, schema, spec.run_id)

    return (
        blocks(rows, n_users, USERS_A_SEARCH)
        .select("block", "user_id", "item_id", "weight", "seen", *ABOUT_USERS, WHOLE, "floor")
        .groupBy("block")
        .applyInArrow(build, f"{RECOMMENDATIONS.spark_ddl()}, {OF_PLACE}, {FLOOR} DOUBLE")
    )


def similar_items(targets: DataFrame, spec: SearchSpec, names: MovedNames) -> DataFrame:
    """Return rows of `similar_items` with `is_whole`.

    Args:
        targets: target_item_id, floor (null: not known, its list is made anew).
        spec: matrix, length of a list, run.
        names: what can enter or leave.
    """
    build = _neighbours(spec, names)
    ddl = f"{SIMILAR_ITEMS.spark_ddl()}, {OF_PLACE}"
    return targets.select("target_item_id", "floor").mapInArrow(build, ddl)


def _neighbours(
    spec: SearchSpec, names: MovedNames
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = _with_whole(SIMILAR_ITEMS)

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        snapshot, moved = spec.open(), names.open(spec.snapshot)
        search = (spec.engine(snapshot), spec.lists.k)
        for batch in batches:
            rows = snapshot.find(batch.column("target_item_id"))
            floors = batch.column("floor").to_numpy(zero_copy_only=False)[rows >= 0]
            marks = Marks(np.isnan(floors), floors)
            made = refreshed_neighbours(snapshot, rows[rows >= 0], marks, moved, search)
            for found, targets, is_whole in ((*made[:2], True), (*made[2:], False)):
                table = neighbour_table(snapshot, found, targets)
                if is_whole:
                    table = with_empty(table, snapshot.ids.take(pa.array(targets)))
                table = flagged(table, is_whole=is_whole)
                yield from as_written(table, schema, spec.run_id).to_batches()

    return build


def _with_whole(spec: TableSpec) -> pa.Schema:
    return spec.arrow_schema().append(pa.field(WHOLE, pa.bool_()))


def floors(made: DataFrame) -> DataFrame:
    """Return user_id and `floor` of every list."""
    return made.groupBy("user_id").agg(F.max(FLOOR).alias("floor"))


def kept_users(history: DataFrame, made: DataFrame, before: DataFrame | None) -> DataFrame:
    """Return `USERS` for the next run.

    Args:
        history: rows with `fingerprint`.
        made: user_id, floor of the lists that were made anew.
        before: `USERS` of the last run, for lists that were not; what entered one of these only
            raised its floor, and a low one is always right. None: all were made anew.
    """
    users = history.groupBy("user_id").agg(F.first("fingerprint").alias("fingerprint"))
    made = made.select("user_id", "floor", F.lit(True).alias("is_made"))
    if before is None:
        return users.join(made, "user_id", "left").select("user_id", "fingerprint", "floor")
    old = before.select("user_id", F.col("floor").alias("was"))
    floor = F.when(F.col("is_made"), F.col("floor")).otherwise(F.col("was"))
    both = users.join(made, "user_id", "left").join(old, "user_id", "left")
    return both.select("user_id", "fingerprint", floor.alias("floor"))


def whole_lists(
    owners: DataFrame, made: DataFrame, stored: DataFrame, spec: TableSpec
) -> DataFrame:
    """Return what `delta_lists.replace_lists` takes, for lists that were made anew.

    Args:
        owners: those whose list was made anew, once each; without rows in `made` they lose it.
        made: rows of the table; rank 0 is none.
        stored: the table.
        spec: of the table; its key is the owner of a list and the place.
    """
    owner = spec.key[0]
    n = F.count("*").cast("int")
    n_before = stored.select(owner).join(owners, owner, "left_semi").groupBy(owner)
    return (
        owners.join(_collected(made, spec), owner, "left")
        .join(n_before.agg(n.alias("n")), owner, "left")
        .select(
            owner,
            F.lit(True).alias(WHOLE),
            F.expr("coalesce(places, array())").alias("places"),
            F.coalesce("n", F.lit(0)).alias("n_before"),
        )
    )


def _collected(rows: DataFrame, spec: TableSpec) -> DataFrame:
    """Return the owner and the `places` of each list, in order."""
    owner, place = spec.key
    others = [name for name in spec.column_names if name != place]
    is_place = F.lit(True) if place != "rank" else F.col(place) > 0
    entry = F.when(is_place, F.struct(place, *others))
    return rows.groupBy(owner).agg(F.sort_array(F.collect_list(entry)).alias("places"))


def entered_lists(entering: DataFrame, stored: DataFrame, spec: TableSpec, k: int) -> DataFrame:
    """Return what `delta_lists.replace_lists` takes, for full lists that something enters.

    Args:
        entering: rows of the table, their rank not yet known.
        stored: the table.
        spec: of the table.
        k: length of a list.
    """
    owner, place = spec.key
    slim = stored.select(
        owner, F.col("score").alias("other"), F.col("item_id").alias("other_id")
    ).join(entering.select(owner), owner, "left_semi")
    is_ahead = F.expr("other > score OR (other = score AND other_id < item_id)")
    ahead = (
        entering.select(owner, "item_id", "score")
        .join(slim, owner)
        .groupBy(owner, "item_id")
        .agg(F.count_if(is_ahead).alias("ahead"))
    )
    order = Window.partitionBy(owner).orderBy(F.desc("score"), "item_id")
    placed = (
        entering.join(ahead, [owner, "item_id"])
        .withColumn(place, (F.col("ahead") + F.row_number().over(order)).cast("int"))
        .where(F.col(place) <= k)
    )
    return _collected(placed, spec).select(
        owner, F.lit(False).alias(WHOLE), "places", F.lit(k).alias("n_before")
    )


def replacements(
    made: DataFrame, lost: DataFrame, stored: DataFrame, spec: TableSpec, k: int
) -> DataFrame:
    """Return what `delta_lists.replace_lists` takes, from rows with `is_whole`.

    Args:
        made: rows of the table.
        lost: one column, the owners that are gone.
        stored: the table.
        spec: of the table.
        k: length of a list.
    """
    owner = spec.key[0]
    whole = made.where(WHOLE)
    owners = whole.select(owner).union(lost.select(F.col(lost.columns[0]).alias(owner))).distinct()
    anew = whole_lists(owners, whole, stored, spec)
    return anew.unionByName(entered_lists(made.where(f"NOT {WHOLE}"), stored, spec, k))

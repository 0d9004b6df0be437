"""Frames in, frames out: lists per user, neighbours per item. Only ids and weights travel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.profiles.plan import blocks
from vlm4rec_spark.profiles.vectors import histories
from vlm4rec_spark.tables import RECOMMENDATIONS, SIMILAR_ITEMS
from vlm4rec_spark.topk.lists import best_rows, candidates, lists_for, searcher_of
from vlm4rec_spark.topk.reasons import shared_words, similar_reason
from vlm4rec_spark.topk.snapshot import Snapshot, load_snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ITEMS_A_BLOCK = 512
ITEMS_A_TASK = 4096


@dataclass(frozen=True)
class SearchSpec:
    """What a worker needs to make lists."""

    snapshot: str
    """Folder of the item matrix."""
    engine: str
    """scann or exact."""
    k: int
    """Length of a list."""
    run_id: str
    """Run that writes the rows."""
    popularity: str | None = None
    """File in the folder; None: no popular lists are wanted."""


def recommendations(history: DataFrame, n_users: int, spec: SearchSpec) -> DataFrame:
    """Return rows of `recommendations`, from rows of `history`."""
    schema = RECOMMENDATIONS.arrow_schema()

    def build(table: pa.Table) -> pa.Table:
        loaded = load_snapshot(spec.snapshot, spec.popularity)
        entries = lists_for(loaded, histories(table, loaded.ids), spec.k, spec.engine)
        rows = [{**asdict(entry), "run_id": spec.run_id} for entry in entries]
        return pa.Table.from_pylist(rows, schema=schema)

    return (
        blocks(history, n_users)
        .select("block", "user_id", "item_id", "weight", "seen")
        .groupBy("block")
        .applyInArrow(build, RECOMMENDATIONS.spark_ddl())
    )


def similar_items(rows: DataFrame, spec: SearchSpec) -> DataFrame:
    """Return rows of `similar_items`, from column `id`: rows of the item matrix."""
    return rows.select("id").mapInArrow(_neighbours(spec), SIMILAR_ITEMS.spark_ddl())


def _neighbours(
    spec: SearchSpec,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = SIMILAR_ITEMS.arrow_schema()

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        snapshot = load_snapshot(spec.snapshot)
        for batch in batches:
            ids = batch.column("id").to_numpy()
            for start in range(0, len(ids), ITEMS_A_BLOCK):
                rows = list(_similar(snapshot, ids[start : start + ITEMS_A_BLOCK], spec))
                yield from pa.Table.from_pylist(rows, schema=schema).to_batches()

    return build


def _similar(
    snapshot: Snapshot, targets: npt.NDArray[np.int64], spec: SearchSpec
) -> Iterator[dict[str, object]]:
    queries = np.ascontiguousarray(snapshot.vectors[targets])
    found = searcher_of(snapshot, spec.engine).nearest(queries, spec.k + 1)
    for target, query, positions in zip(targets, queries, found, strict=True):
        rows = candidates(snapshot, positions, np.array([target]), spec.k)
        best, scores = best_rows(snapshot, query, rows, spec.k)
        for rank, (row, score) in enumerate(zip(best, scores, strict=True), start=1):
            yield {
                "target_item_id": str(snapshot.ids[target]),
                "rank": rank,
                "item_id": str(snapshot.ids[row]),
                "score": float(score),
                "reason": similar_reason(shared_words(snapshot.words[target], snapshot.words[row])),
                "run_id": spec.run_id,
            }


def audit_sample(history: DataFrame, users: int) -> DataFrame:
    """Return the history of `users` users, the same ones in every run."""
    chosen = (
        history.where("weight > 0")
        .select("user_id")
        .distinct()
        .orderBy(F.xxhash64(F.lit("audit"), "user_id"), "user_id")
        .limit(users)
    )
    return history.join(chosen, "user_id", "left_semi")

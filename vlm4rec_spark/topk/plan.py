"""Frames in, frames out: lists per user, neighbours per item. Only ids and weights travel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
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


def recommendations(
    history: DataFrame, n_users: int, snapshot: str, k: int, engine: str, run_id: str
) -> DataFrame:
    """Return rows of `recommendations`, from rows of `history`."""
    schema = RECOMMENDATIONS.arrow_schema()

    def build(table: pa.Table) -> pa.Table:
        loaded = load_snapshot(snapshot)
        entries = lists_for(loaded, histories(table, loaded.ids), k, engine)
        rows = [{**asdict(entry), "run_id": run_id} for entry in entries]
        return pa.Table.from_pylist(rows, schema=schema)

    return (
        blocks(history, n_users)
        .select("block", "user_id", "item_id", "weight", "seen")
        .groupBy("block")
        .applyInArrow(build, RECOMMENDATIONS.spark_ddl())
    )


def similar_items(
    item_ids: DataFrame, snapshot: str, k: int, engine: str, run_id: str
) -> DataFrame:
    """Return rows of `similar_items` for every item id that has a vector."""
    return item_ids.select("item_id").mapInArrow(
        _neighbours(snapshot, k, engine, run_id), SIMILAR_ITEMS.spark_ddl()
    )


def _neighbours(
    folder: str, k: int, engine: str, run_id: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    schema = SIMILAR_ITEMS.arrow_schema()

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        snapshot = load_snapshot(folder)
        for batch in batches:
            ids = np.asarray(batch.column("item_id").to_pylist(), dtype=np.str_)
            for start in range(0, len(ids), ITEMS_A_BLOCK):
                targets = np.searchsorted(snapshot.ids, ids[start : start + ITEMS_A_BLOCK])
                rows = list(_similar(snapshot, targets, k, engine, run_id))
                yield from pa.Table.from_pylist(rows, schema=schema).to_batches()

    return build


def _similar(
    snapshot: Snapshot, targets: np.ndarray, k: int, engine: str, run_id: str
) -> Iterator[dict[str, object]]:
    queries = np.ascontiguousarray(snapshot.vectors[targets])
    found = searcher_of(snapshot, engine).nearest(queries, k + 1)
    for target, query, positions in zip(targets, queries, found, strict=True):
        rows = candidates(snapshot, positions, np.array([target]), k)
        best, scores = best_rows(snapshot, query, rows, k)
        for rank, (row, score) in enumerate(zip(best, scores, strict=True), start=1):
            yield {
                "target_item_id": str(snapshot.ids[target]),
                "rank": rank,
                "item_id": str(snapshot.ids[row]),
                "score": float(score),
                "reason": similar_reason(shared_words(snapshot.words[target], snapshot.words[row])),
                "run_id": run_id,
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

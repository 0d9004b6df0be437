"""A shop whose items fall in three groups that are alike, and a log of users who like one each."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tests.shop_log import log_settings, write_log
from vlm4rec_spark import delta
from vlm4rec_spark.config import load_config
from vlm4rec_spark.profiles import job as profiles_job
from vlm4rec_spark.runs import RunContext, RunReport
from vlm4rec_spark.tables import ITEM_VECTORS, ITEMS, RECOMMENDATIONS
from vlm4rec_spark.topk import job as topk_job

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.tables import TableSpec

Row = dict[str, object]
Lists = dict[str, list[tuple[str, float, str]]]
"""User -> (item, score, reason) from the first place on."""
ITEMS_IN_SHOP, USERS = 30, 12
NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)


def vector(number: int) -> list[float]:
    """Return the unit vector of an item: three groups of ten that are alike."""
    rng = np.random.default_rng(number)
    raw = np.eye(8)[number % 3] + 0.2 * rng.normal(size=8)
    return [float(x) for x in raw / np.linalg.norm(raw)]


def fill_shop(spark: SparkSession, names: TableNames, n: int = ITEMS_IN_SHOP) -> None:
    """Write n items (every seventh unavailable) and their vectors."""
    rows: list[Row] = [
        {
            "item_id": f"i{i:02d}",
            "title": f"Item {i}",
            "available": i % 7 != 6,
            "first_seen": NOW,
            "updated_at": NOW,
            "request_key": f"k{i}",
        }
        for i in range(n)
    ]
    write(spark, names, ITEMS, rows)
    vectors: list[Row] = [
        {
            "item_id": f"i{i:02d}",
            "space": "caption",
            "text_sha256": f"t{i}",
            "encoder": "test@1",
            "vector": vector(i),
            "status": "ok",
        }
        for i in range(n)
    ]
    write(spark, names, ITEM_VECTORS, vectors)


def write(spark: SparkSession, names: TableNames, spec: TableSpec, rows: list[Row]) -> None:
    """Merge plain rows into a table."""
    frame = spark.createDataFrame(pa.Table.from_pylist(rows, schema=spec.arrow_schema()))
    delta.merge_on_key(spark, frame, spec, names)


def log_rows() -> list[Row]:
    """Return a log in which user u likes group u % 3, plus rows with each kind of problem."""
    rows: list[Row] = [
        {
            "user_id": f"u{u:02d}",
            "item_id": f"i{(3 * j + u) % ITEMS_IN_SHOP:02d}",
            "timestamp": NOW - timedelta(days=j),
            "event_type": "purchase" if j == 0 else "view",
        }
        for u in range(USERS)
        for j in range(4)
    ]
    first = rows[0]
    return [
        *rows,
        dict(first),
        {**first, "item_id": None},
        {**first, "item_id": "nobody knows"},
        {**first, "timestamp": datetime(2999, 1, 1, tzinfo=timezone.utc)},
        {**first, "user_id": "window shopper", "event_type": "stare"},
        {**first, "user_id": "collector", "item_id": "another nobody knows"},
    ]


def make_context(
    spark: SparkSession, names: TableNames, folder: Path, *settings: str, partitions: int = 2
) -> RunContext:
    """Return a context whose interactions are `log_rows` in so many partitions."""
    path = folder / f"log-{partitions}"
    if not path.exists():
        write_log(path, log_rows(), partitions)
    config = load_config(
        None,
        [
            *log_settings(names, folder, path),
            "topk.k=8",
            "topk.similar_k=3",
            *settings,
        ],
    )
    return RunContext(spark, config, names, f"run-{partitions}")


def recommend(context: RunContext) -> tuple[RunReport, RunReport]:
    """Run both stages."""
    return profiles_job.run(context), topk_job.run(context)


def lists(context: RunContext) -> Lists:
    """Return the lists in force."""
    found: Lists = {}
    rows = delta.read(context.spark, RECOMMENDATIONS, context.names).orderBy("user_id", "rank")
    for row in rows.collect():
        found.setdefault(row["user_id"], []).append((row["item_id"], row["score"], row["reason"]))
    return found

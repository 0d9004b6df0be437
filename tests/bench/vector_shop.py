"""A synthetic shop with item vectors and an event log, for benchmarks of the recommend job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vlm4rec_spark import delta
from vlm4rec_spark.benchmarks.data import CLUSTERS, DIMENSIONS, Shape, Vectors
from vlm4rec_spark.tables import DESCRIPTIONS, ITEM_VECTORS, ITEMS, TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from vlm4rec_spark.pipeline import Pipeline

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
DAYS = 90
EVENTS_A_USER = 25
STYLES, COLOURS = 12, 40


@dataclass(frozen=True)
class Shop:
    """Items and events, drawn by seed."""

    vectors: Vectors
    clusters: npt.NDArray[np.int64]
    users: npt.NDArray[np.int64]
    """(events,) user of each event, ascending."""
    items: npt.NDArray[np.int64]
    days: npt.NDArray[np.float64]
    """Age of each event."""

    @staticmethod
    def drawn(n: int, users: int, events_a_user: float = EVENTS_A_USER) -> Shop:
        """Draw n items, and users who like 1 to 4 clusters.

        Args:
            n: items.
            users: users.
            events_a_user: mean; each has .4 to 1.6 times as many.
        """
        rng = np.random.default_rng(5)
        shape = Shape.drawn(rng)
        clusters = rng.choice(CLUSTERS, n, p=shape.shares)
        order = np.argsort(clusters, kind="stable")
        starts = np.searchsorted(clusters[order], np.arange(CLUSTERS + 1))
        least, most = round(0.4 * events_a_user), round(1.6 * events_a_user)
        sizes = rng.integers(least, most + 1, users)
        who = np.repeat(np.arange(users), sizes)
        liked = rng.choice(CLUSTERS, (users, 4), p=shape.shares)
        of = liked[who, rng.integers(0, rng.integers(1, 5, users)[who])]
        place = starts[of] + (rng.random(len(of)) * (starts[of + 1] - starts[of])).astype(int)
        items = order[np.minimum(place, n - 1)]
        return Shop(shape.rows(clusters, rng), clusters, who, items, DAYS * rng.random(len(who)))

    def write(self, spark: SparkSession, pipeline: Pipeline, folder: Path, n: int) -> None:
        """Write the first n items and their vectors in place of what is there."""
        names, ids = pipeline.context.names, [f"i{item:07d}" for item in range(n)]
        keys = pa.array([f"c{cluster}" for cluster in self.clusters[:n]])
        items = {
            "item_id": pa.array(ids),
            "title": pa.array([f"Item {item}" for item in range(n)]),
            "brand": pa.array([f"Brand {item % 97}" for item in range(n)]),
            "available": pa.array([True] * n),
            "first_seen": pa.array([NOW - timedelta(days=DAYS)] * n),
            "updated_at": pa.array([NOW] * n),
            "request_key": keys,
        }
        offsets = pa.array(np.arange(n + 1, dtype=np.int32) * DIMENSIONS)
        vectors = {
            "item_id": items["item_id"],
            "space": pa.array(["caption"] * n),
            "text_sha256": items["item_id"],
            "encoder": pa.array(["bench@1"] * n),
            "vector": pa.ListArray.from_arrays(offsets, pa.array(self.vectors[:n].ravel())),
            "status": pa.array(["ok"] * n),
        }
        for spec, columns in ((ITEMS, items), (ITEM_VECTORS, vectors)):
            path = folder / f"{spec.name}-{n}.parquet"
            pq.write_table(filled(spec, columns), path, row_group_size=20_000)
            delta.replace(spark.read.parquet(str(path)), spec, names)

    def log(self, folder: Path, name: str, extra: int = 0, n_items: int = 1) -> Path:
        """Write the log, with three purchases each for the first `extra` users; return where."""
        folder.mkdir(exist_ok=True)
        path = folder / name
        users = np.concatenate([self.users, np.repeat(np.arange(extra), 3)])
        bought = np.random.default_rng(6).integers(0, n_items, 3 * extra)
        ages = np.concatenate([self.days, np.full(3 * extra, -0.5)]) * 86_400_000_000
        when = int(NOW.timestamp() * 1e6) - ages.astype(np.int64)
        kinds = np.where(np.arange(len(users)) % 5 == 0, "purchase", "view")
        table = pa.table(
            {
                "user_id": pa.array([f"u{user:07d}" for user in users]),
                "item_id": pa.array([f"i{i:07d}" for i in np.append(self.items, bought)]),
                "timestamp": pa.array(when, pa.timestamp("us", tz="UTC")),
                "event_type": pa.array(kinds),
            }
        )
        pq.write_table(table, path, row_group_size=200_000)
        return path


def filled(spec: TableSpec, columns: dict[str, pa.Array]) -> pa.Table:
    """Return all columns of a table, null where they are not given."""
    n = len(columns["item_id"])
    schema = spec.arrow_schema()
    return pa.table(
        [columns.get(f.name, pa.nulls(n, f.type)).cast(f.type) for f in schema], schema=schema
    )


def write_words(spark: SparkSession, pipeline: Pipeline) -> None:
    """Write a description for each cluster: items of one are described alike."""
    sure = 0.9
    rows = [
        {
            "request_key": f"c{cluster}",
            "status": "ok",
            "description": f"what cluster {cluster} looks like",
            "attributes": [
                (name, {"value": value, "confidence": sure})
                for name, value in (
                    ("style", f"style {cluster % STYLES}"),
                    ("colour", f"colour {cluster % COLOURS}"),
                    ("material", f"material {cluster // STYLES % STYLES}"),
                )
            ],
        }
        for cluster in range(CLUSTERS)
    ]
    table = pa.Table.from_pylist(rows, schema=DESCRIPTIONS.arrow_schema())
    delta.replace(spark.createDataFrame(table), DESCRIPTIONS, pipeline.context.names)

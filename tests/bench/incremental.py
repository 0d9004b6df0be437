"""What a night costs that makes only what changed: `make bench-incremental`.

A synthetic shop in a local Spark session: items with described words and 384-dimensional vectors,
users with 10 to 40 events each. A first run makes everything. Then 1 % of the users get new events
and 1,000 items come. The recommend job, profiles and lists, runs with `topk.refresh: changed`; the
tables are put back, the index is deleted, and it runs again with `topk.refresh: full`. Cost is the
CPU time of this process and all its children, the JVM and the Python workers, so that other load
on the machine matters little. The changed run comes first: the full one has the warmer JVM.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vlm4rec_spark import delta
from vlm4rec_spark.benchmarks.data import CLUSTERS, DIMENSIONS, Shape, Vectors
from vlm4rec_spark.config import load_config
from vlm4rec_spark.pipeline import Pipeline
from vlm4rec_spark.session import build_session
from vlm4rec_spark.tables import (
    DESCRIPTIONS,
    ITEM_VECTORS,
    ITEMS,
    PROFILES,
    RECOMMENDATIONS,
    SIMILAR_ITEMS,
    TableSpec,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger("bench")
NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
DAYS, SHARE = 90, 0.01
WRITTEN = (PROFILES, RECOMMENDATIONS, SIMILAR_ITEMS)
COMPARED = ["item_id", "score"]
STYLES, COLOURS = 12, 40
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Return the CPU seconds that this process and all below it have taken so far."""
    parents, taken = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        process = int(path.parent.name)
        parents[process] = int(fields[1])
        taken[process] = sum(int(field) for field in fields[11:15])  # ended children included
    mine = {os.getpid()}
    while more := {p for p, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(taken.get(process, 0) for process in mine) / TICKS


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
    def drawn(n: int, users: int) -> Shop:
        """Draw n items, and users who like 1 to 4 clusters."""
        rng = np.random.default_rng(5)
        shape = Shape.drawn(rng)
        clusters = rng.choice(CLUSTERS, n, p=shape.shares)
        order = np.argsort(clusters, kind="stable")
        starts = np.searchsorted(clusters[order], np.arange(CLUSTERS + 1))
        sizes = rng.integers(10, 41, users)
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


def differing(pipeline: Pipeline, spec: TableSpec, one: int, other: int) -> float:
    """Return the share of lists that differ between two versions of a table."""
    context = pipeline.context
    owner, place = spec.key

    def at(number: int) -> DataFrame:
        rows = delta.read_version(context.spark, spec, context.names, number)
        return rows.select(owner, place, *COMPARED)

    left, right = at(one), at(other)
    differ = left.exceptAll(right).union(right.exceptAll(left)).select(owner).distinct().count()
    return differ / right.select(owner).distinct().count()


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Build the shop, and measure the two ways to renew its lists."""
    extra = {"spark.driver.memory": "5g", "spark.master": "local[2]"}
    spark = build_session("bench-incremental", extra=extra, warehouse=str(folder / "tables"))
    settings = [
        "tables.schema=bench", f"topk.index_path={folder}/index", f"topk.k={options.k}",
        f"topk.recall_target={options.recall}", "profiles.now=2026-06-02T00:00:00Z",
        "sources.interactions.format=parquet",
        "sources.interactions.columns.event_type=event_type",
    ]  # fmt: skip

    def pipeline(log: Path, refresh: str) -> Pipeline:
        own = [f"sources.interactions.path={log}", f"topk.refresh={refresh}"]
        return Pipeline(spark, load_config(None, [*settings, *own]))

    shop = Shop.drawn(options.items + options.new, options.users)
    first = replace(shop, items=shop.items % options.items)  # new items have no events
    begin = pipeline(first.log(folder / "logs", "first.parquet"), "changed")
    write_words(spark, begin)
    first.write(spark, begin, folder, options.items)
    _measured(begin, "first run")
    versions = _versions(begin)
    n = options.items + options.new
    first.write(spark, begin, folder, n)
    log = first.log(folder / "logs", "later.parquet", round(SHARE * options.users), n)
    changed, report = _measured(pipeline(log, "changed"), "changed")
    made = _versions(begin)
    for spec, number in versions.items():
        name = begin.context.names.qualified(spec)
        spark.sql(f"RESTORE TABLE {name} TO VERSION AS OF {number}")
    shutil.rmtree(folder / "index")
    full, _ = _measured(pipeline(log, "full"), "full")
    lists = (RECOMMENDATIONS, SIMILAR_ITEMS)
    differ = [differing(begin, s, made[s], _versions(begin)[s]) for s in lists]
    spark.stop()
    return {
        "items": n,
        "users": options.users,
        "events": len(shop.users),
        "k": options.k,
        "recall_target": options.recall,
        "cost_share": changed / full,
        "lists_equal_to_full": differ == [0.0, 0.0],
        "lists_that_differ": differ[0],
        "similar_that_differ": differ[1],
        "changed_cpu_s": changed,
        "full_cpu_s": full,
        **{
            name: report[f"topk.{name}"]
            for name in ("lists_made_anew", "lists_entered", "list_rows_changed",
                         "similar_rows_changed")
        },
    }  # fmt: skip


def _measured(pipeline: Pipeline, name: str) -> tuple[float, dict[str, int]]:
    """Run the recommend job; return its CPU seconds and what it counted."""
    before, started = cpu_seconds(), time.monotonic()
    report = pipeline.recommend()
    taken = cpu_seconds() - before
    logger.info("%s: %.1f CPU-s, %.1f s", name, taken, time.monotonic() - started)
    return taken, dict(report.counts)


def _versions(pipeline: Pipeline) -> dict[TableSpec, int]:
    context = pipeline.context
    return {spec: delta.last_version(context.spark, spec, context.names) for spec in WRITTEN}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=1_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--recall", type=float, default=1.0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="bench-incremental-") as folder:
        answer = run(options, Path(folder))
    facts = {
        "data": "synthetic", "dimensions": DIMENSIONS, "cores": os.cpu_count(), "spark_cores": 2,
        "pyspark": version("pyspark"), "delta": version("delta-spark"),
    }  # fmt: skip
    figures = {key: round(v, 4) if isinstance(v, float) else v for key, v in answer.items()}
    sys.stdout.write(json.dumps(figures | facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

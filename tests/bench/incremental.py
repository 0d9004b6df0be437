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
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.processes import cpu_s
from tests.bench.vector_shop import Shop, write_words
from vlm4rec_spark import delta
from vlm4rec_spark.benchmarks.data import DIMENSIONS
from vlm4rec_spark.config import load_config
from vlm4rec_spark.pipeline import Pipeline
from vlm4rec_spark.session import build_session
from vlm4rec_spark.tables import PROFILES, RECOMMENDATIONS, SIMILAR_ITEMS, TableSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

logger = logging.getLogger("bench")
SHARE = 0.01
WRITTEN = (PROFILES, RECOMMENDATIONS, SIMILAR_ITEMS)
COMPARED = ["item_id", "score"]


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
        "topk.engine=auto",
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
    before, started = cpu_s(), time.monotonic()
    report = pipeline.recommend()
    taken = cpu_s() - before
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

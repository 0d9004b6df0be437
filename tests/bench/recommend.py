"""What the whole recommend job takes, and where it goes: `make bench-recommend`.

A synthetic shop in a local Spark session with two cores: profiles and lists of all users and the
neighbours of all items, from an event log to Delta tables. Ends with one line of JSON:

- `cpu_s`: CPU seconds of the job, of this process and all below it: the JVM and Python's workers.
  Neither drawing the shop nor starting Spark is in it; the JVM is cold otherwise, and the rivals
  run in the warm one. The parts are those of the driver, the JVM (its compilers and collector
  apart) and the workers; the log shows how they grow.
- `engine_share`: the part of it that the workers take for profiles, search and exact scores:
  `profiles_cpu_s` (of both stages), `search_cpu_s`, `neighbours_cpu_s`. Measured after the job, by
  doing that again in workers: see `replay`. `lists_cpu_s` is all that turns histories into lists,
  reasons included, without the way from and to the JVM.
- `vs_als_recommend`, `vs_cross_join_udf`: CPU seconds of others over `cpu_s`. They run for
  `als_users` and `cross_join_users` with all items, in `als_cpu_s` and `cross_join_cpu_s`, and are
  scaled by users: see `rivals`. Spark has no native BLAS unless the machine has one.
- `pss_per_extra_worker_mb`: memory that a second worker adds: see `worker_memory`.
  `matrix_pss_mb` is that of the item matrix in all Python processes, with one worker and with two.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import rivals, worker_memory
from tests.bench.figures import rounded
from tests.bench.processes import cpu_s_by_kind, jvm_overhead_cpu_s
from tests.bench.replay import arithmetic
from tests.bench.vector_shop import Shop, write_words
from vlm4rec_spark.benchmarks.data import DIMENSIONS
from vlm4rec_spark.config import load_config
from vlm4rec_spark.pipeline import Pipeline
from vlm4rec_spark.profiles.job import take_history
from vlm4rec_spark.session import build_session
from vlm4rec_spark.topk.engines.choice import EngineSpec, chosen_engine
from vlm4rec_spark.topk.job import search_spec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.topk.plan import SearchSpec

logger = logging.getLogger("bench")
SPARK_CORES = 2


@dataclass(frozen=True)
class Job:
    """What a run of the job took."""

    seconds: dict[str, float]
    """CPU seconds by kind of process."""
    within_jvm: dict[str, float]
    """CPU seconds of the JVM's own work, which are among those."""
    wall_s: float
    spec: SearchSpec
    """How it made its lists."""

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes."""
        return sum(self.seconds.values())


def session(folder: Path) -> SparkSession:
    """Return a local session; after another was stopped, one with workers of its own."""
    extra = {"spark.driver.memory": "5g", "spark.master": f"local[{SPARK_CORES}]"}
    return build_session("bench-recommend", extra=extra, warehouse=str(folder / "tables"))


def prepared(spark: SparkSession, options: argparse.Namespace, folder: Path) -> Pipeline:
    """Write the shop and its log, and return the pipeline over them."""
    shop = Shop.drawn(options.items, options.users, options.events / options.users)
    log = shop.log(folder / "logs", "events.parquet")
    settings = [
        "tables.schema=bench", f"topk.index_path={folder}/index", f"topk.k={options.k}",
        "topk.engine=auto",
        f"topk.recall_target={options.recall}", "profiles.now=2026-06-02T00:00:00Z",
        "sources.interactions.format=parquet", f"sources.interactions.path={log}",
        "sources.interactions.columns.event_type=event_type",
    ]  # fmt: skip
    pipeline = Pipeline(spark, load_config(None, settings))
    write_words(spark, pipeline)
    shop.write(spark, pipeline, folder, options.items)
    options.events = len(shop.users)
    return pipeline


def measured(pipeline: Pipeline, options: argparse.Namespace) -> Job:
    """Run the job."""
    before, overhead, started = cpu_s_by_kind(), jvm_overhead_cpu_s(), time.monotonic()
    report = pipeline.recommend()
    seconds = {name: taken - before.get(name, 0) for name, taken in cpu_s_by_kind().items()}
    within = {name: taken - overhead[name] for name, taken in jvm_overhead_cpu_s().items()}
    wall_s = time.monotonic() - started
    context = pipeline.context
    spec = search_spec(context, take_history(context))
    width = int(report.figures["topk.search_width"])
    name = "exact"
    if width:
        settings = context.config.topk
        name = chosen_engine(settings.engine, options.items, options.users, DIMENSIONS)
    spec = replace(spec, lists=replace(spec.lists, engine=EngineSpec(name, width)))
    return Job(seconds, within, wall_s, spec)


def engine_figures(pipeline: Pipeline, job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Return the share of the arithmetic, and the parts of it."""
    work = arithmetic(pipeline.context, job.spec, options.users, options.replay_blocks)
    return {
        "engine_share": work.total / job.cpu_s,
        "profiles_cpu_s": 2 * work.profiles,
        "search_cpu_s": work.search,
        "neighbours_cpu_s": work.neighbours,
        "lists_cpu_s": work.lists,
        "replay_blocks": options.replay_blocks,
    }


def rival_figures(
    pipeline: Pipeline, job: Job, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Return how many times the job's CPU seconds the others take."""
    spark, users, k = pipeline.context.spark, options.users, options.k
    rivals.write_factors(
        pipeline.table("profiles").selectExpr("int(substr(user_id, 2)) id", "vector features"),
        pipeline.table("item_vectors").selectExpr("int(substr(item_id, 2)) id", "vector features"),
        folder,
    )
    als = rivals.scaled(
        "ALS", lambda n: rivals.als(spark, folder, n, DIMENSIONS, k), min(users, options.als_users)
    )
    join = rivals.scaled(
        "cross join",
        lambda n: rivals.cross_join_udf(spark, folder, n, k),
        min(users, options.cross_join_users),
    )
    return {
        "vs_als_recommend": als.at(users) / job.cpu_s,
        "als_users": [als.few, als.many],
        "als_cpu_s": [als.few_s, als.many_s],
        "vs_cross_join_udf": join.at(users) / job.cpu_s,
        "cross_join_users": [join.few, join.many],
        "cross_join_cpu_s": [join.few_s, join.many_s],
    }


def memory_figures(spark: SparkSession, spec: SearchSpec) -> dict[str, Any]:
    """Return what a second worker adds; the session must have had none."""
    one, matrix_one = worker_memory.with_workers(spark, spec, 1)
    two, matrix_two = worker_memory.with_workers(spark, spec, 2)
    return {
        "pss_per_extra_worker_mb": two - one,
        "matrix_pss_mb": [matrix_one, matrix_two],
        "matrix_mb": spec.open().vectors.nbytes / 2**20,
    }


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the job once, and measure what to compare it with."""
    spark = session(folder)
    pipeline = prepared(spark, options, folder)
    job = measured(pipeline, options)
    engine = job.spec.lists.engine
    figures = {
        "users": options.users, "items": options.items, "events": options.events, "k": options.k,
        "recall_target": options.recall, "engine": engine.name, "search_width": engine.width,
        "cpu_s": job.cpu_s, "wall_s": job.wall_s,
        **{f"{name}_cpu_s": taken for name, taken in (job.seconds | job.within_jvm).items()},
    }  # fmt: skip
    figures |= engine_figures(pipeline, job, options)
    logger.info("%s", figures)
    figures |= rival_figures(pipeline, job, options, folder / "factors")
    spark.stop()
    spark = session(folder)
    figures |= memory_figures(spark, job.spec)
    spark.stop()
    return figures


def _with_cpu(record: logging.LogRecord) -> bool:
    """Add to a line of the log what has been taken so far: where the job's time goes."""
    kinds = cpu_s_by_kind()
    parts = ", ".join(f"{name} {taken:.1f}" for name, taken in sorted(kinds.items()))
    record.cpu = f"{sum(kinds.values()):.1f} CPU-s ({parts})"
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--replay-blocks", type=int, default=6)
    parser.add_argument("--als-users", type=int, default=8192)
    parser.add_argument("--cross-join-users", type=int, default=64)
    options = parser.parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_with_cpu)
    form = "%(asctime)s %(cpu)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, handlers=[handler])
    logging.getLogger("py4j").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="bench-recommend-") as folder:
        answer = run(options, Path(folder))
    facts = {
        "data": "synthetic", "dimensions": DIMENSIONS, "cores": os.cpu_count(),
        "spark_cores": SPARK_CORES, "worker_blas_threads": 1, "python": sys.version.split()[0],
        **{name: version(name) for name in ("pyspark", "delta-spark", "numpy", "numba")},
    }  # fmt: skip
    sys.stdout.write(json.dumps(rounded(answer, 4) | facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

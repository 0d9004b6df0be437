"""A full disk and another writer while the describe stage writes: nothing is lost or doubled."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.describe_shop import Shop
from vlm4rec_spark import delta
from vlm4rec_spark.descriptions import plan
from vlm4rec_spark.descriptions.job import run
from vlm4rec_spark.descriptions.lifeline import descendants
from vlm4rec_spark.errors import BusyError, StorageError
from vlm4rec_spark.merge_sql import merge_statement
from vlm4rec_spark.spark_errors import in_our_words
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG, TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext

pytestmark = [pytest.mark.spark, pytest.mark.delta, pytest.mark.faults]
N = 6
SMALLEST_FILE = 2048
"""Bytes; what a slice writes, shuffled or as Parquet, is larger."""


@pytest.fixture
def ingested(spark: SparkSession, names: TableNames, tmp_path: Path) -> RunContext:
    """Return a shop of six items with a picture each, ready to be described in three slices."""
    shop = Shop(spark, names, tmp_path)
    shop.show(**{f"i{n}": n for n in range(N)})
    return shop.context("describe.slice_rows=2")


def jvm() -> int:
    """Return the process in which Spark runs."""
    pids = descendants(os.getpid())
    (found,) = [p for p in pids if Path(f"/proc/{p}/comm").read_text("utf-8").strip() == "java"]
    return found


def once_each(context: RunContext) -> int:
    """Return how many requests are described, after looking that none is there twice."""
    spark, names = context.spark, context.names
    logged = [
        (row["request_key"], row["attempt"])
        for row in delta.read(spark, DESCRIPTIONS_LOG, names).collect()
    ]
    keys = [row["request_key"] for row in delta.read(spark, DESCRIPTIONS, names).collect()]
    assert max(Counter(logged).values(), default=1) == 1
    assert max(Counter(keys).values(), default=1) == 1
    return len(keys)


def test_a_disk_that_fills_up_costs_the_slice_under_way_only(
    ingested: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark_process = jvm()
    before = resource.prlimit(spark_process, resource.RLIMIT_FSIZE)
    append_once = delta.append_once

    def on_a_disk_that_fills_up(df: DataFrame, spec: TableSpec, *more: Any) -> None:
        if not delta.read(ingested.spark, DESCRIPTIONS_LOG, ingested.names).isEmpty():
            resource.prlimit(spark_process, resource.RLIMIT_FSIZE, (SMALLEST_FILE, before[1]))
        append_once(df, spec, *more)

    with monkeypatch.context() as patch:
        patch.setattr("vlm4rec_spark.descriptions.slices_job.AT_A_TIME", 1)
        patch.setattr(delta, "append_once", on_a_disk_that_fills_up)
        try:
            with pytest.raises(StorageError, match="A disk is full"), in_our_words():
                run(ingested)
        finally:
            resource.prlimit(spark_process, resource.RLIMIT_FSIZE, before)
    counts = run(ingested).counts
    assert 0 < counts["reused"] < N
    assert counts["reused"] + counts["described"] == once_each(ingested) == N


def waiting(folder: Path) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for `mapInArrow` that stops, once armed, until the gate is open."""
    armed, reached, gate = (folder / name for name in ("armed", "reached", "gate"))

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if armed.exists():
            reached.touch()
            wait_for(gate)
        yield from batches

    return run


def wait_for(path: Path) -> None:
    """Return when a file is there."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.05)


def test_another_writer_during_a_commit_costs_the_run_but_no_answer(
    ingested: RunContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    described = run(ingested, 2).counts["described"]
    table = ingested.names.qualified(DESCRIPTIONS)
    newest = plan.newest

    def slowly(log: DataFrame) -> DataFrame:
        # One task: the other writer needs a core, too.
        return newest(log).coalesce(1).mapInArrow(waiting(tmp_path), DESCRIPTIONS.spark_ddl())

    def arming(*arguments: Any, **more: Any) -> str:
        (tmp_path / "armed").touch()
        return merge_statement(*arguments, **more)

    def write() -> None:
        wait_for(tmp_path / "reached")
        ingested.spark.sql(f"UPDATE {table} SET engine = 'another'")
        (tmp_path / "gate").touch()

    other = threading.Thread(target=write)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "newest", slowly)
        patch.setattr(delta, "merge_statement", arming)
        other.start()
        with pytest.raises(BusyError, match="Another writer"), in_our_words():
            run(ingested)
        other.join()
    before = delta.read(ingested.spark, DESCRIPTIONS_LOG, ingested.names).count()
    counts = run(ingested).counts
    assert before > described
    assert counts["requests"] == N - before
    assert once_each(ingested) == N

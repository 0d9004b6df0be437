"""What a Python worker adds to the memory of a node: that of all Python processes, by PSS.

In a session that has no worker yet, one task searches exactly, so that it touches every row of the
item matrix, and stays; all Python processes, driver included, are summed up. Then two tasks do so
at once. PSS divides a page by the processes that share it, so one copy of the matrix counts once
in the sum, whatever the number of workers.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tests.bench.processes import kind, pss_mb
from vlm4rec_spark.descriptions.lifeline import descendants
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.interface import Masks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.topk.plan import SearchSpec

QUERIES = 64
LONGEST_WAIT_S = 120.0


def with_workers(spark: SparkSession, spec: SearchSpec, workers: int) -> tuple[float, float]:
    """Return MB of all Python processes with so many workers at work, and of the matrix therein."""
    with tempfile.TemporaryDirectory() as folder:
        driver = os.getpid()
        tasks = spark.range(0, workers, 1, workers)
        held = _held(spec, Path(folder), workers, driver)
        found = tasks.mapInArrow(held, "total DOUBLE, matrix DOUBLE").toArrow()
    return float(found["total"][0].as_py()), float(found["matrix"][0].as_py())


def _held(
    spec: SearchSpec, folder: Path, workers: int, driver: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def hold(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            (number,) = batch.column("id").to_pylist()
            snapshot = spec.open()
            nothing = Masks.nothing(QUERIES, len(snapshot))
            ExactEngine(snapshot.vectors).nearest(snapshot.vectors[:QUERIES], spec.lists.k, nothing)
            (folder / f"ready-{number}").touch()
            _wait(lambda: len(list(folder.glob("ready-*"))) == workers)
            if number == 0:
                total, matrix = _memory(driver, str(snapshot.folder))
                (folder / "measured").touch()
                yield pa.RecordBatch.from_pydict({"total": [total], "matrix": [matrix]})
            _wait((folder / "measured").exists)

    return hold


def _memory(driver: int, folder: str) -> tuple[float, float]:
    """Return MB of the Python processes below the driver and its own, and of files of a folder."""
    total, matrix = [pss_mb(driver)], [pss_mb(driver, folder)]
    for pid in descendants(driver):
        with contextlib.suppress(OSError):  # it has just ended
            if kind(pid) != "jvm":
                total.append(pss_mb(pid))
                matrix.append(pss_mb(pid, folder))
    return float(np.sum(total)), float(np.sum(matrix))


def _wait(is_done: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_WAIT_S
    while not is_done():
        if time.monotonic() > end:
            raise TimeoutError("The other task did not come: Spark has too few cores.")
        time.sleep(0.05)

"""Rows that are dear to work on are spread over all tasks, however few bytes they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from vlm4rec_spark.spread import spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def keys_of_task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return the keys that one task got, as one row."""
    keys = [key for batch in batches for key in batch["key"].to_pylist()]
    yield pa.RecordBatch.from_pydict({"keys": pa.array([keys], pa.list_(pa.int64()))})


def test_as_many_tasks_get_rows_as_were_asked_for_although_the_rows_lay_so_before(
    spark: SparkSession,
) -> None:
    partitions = int(str(spark.conf.get("spark.sql.shuffle.partitions")))
    assert partitions > 1
    # Into as many partitions as there are to be tasks, and the few bytes of all fit into one.
    rows = spark.range(300).selectExpr("id % 100 AS key").distinct()
    found = spread(rows, partitions, "key").mapInArrow(keys_of_task, "keys ARRAY<LONG>").collect()
    assert len(found) == partitions
    assert all(row["keys"] for row in found)
    assert sorted(key for row in found for key in row["keys"]) == list(range(100))


def test_rows_of_one_key_go_to_one_task(spark: SparkSession) -> None:
    rows = spark.range(300).selectExpr("id % 100 AS key")
    found = spread(rows, 3, "key").mapInArrow(keys_of_task, "keys ARRAY<LONG>").collect()
    tasks = [set(row["keys"]) for row in found]
    assert len(tasks) == 3
    assert sum(map(len, tasks)) == len(set.union(*tasks)) == 100

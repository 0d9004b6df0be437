"""The tables, read by something that is not Spark."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable

from vlm4rec_spark import delta
from vlm4rec_spark.delta import TableNames
from vlm4rec_spark.tables import ALL_TABLES, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_every_table_reads_back_with_its_schema_without_spark(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    placed = TableNames(None, names.schema, str(tmp_path))
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    row = {"item_id": "a", "title": "T", "available": True, "first_seen": now, "updated_at": now}
    frame = spark.createDataFrame(pa.Table.from_pylist([row], schema=ITEMS.arrow_schema()))
    delta.merge_on_key(spark, frame, ITEMS, placed)
    for spec in ALL_TABLES:
        delta.create_table(spark, spec, placed)
        table = DeltaTable(str(placed.path(spec)))
        assert [f.name for f in table.schema().fields] == list(spec.column_names)
    (read,) = pa.table(DeltaTable(str(placed.path(ITEMS))).to_pyarrow_table()).to_pylist()
    assert {k: read[k] for k in row} == row

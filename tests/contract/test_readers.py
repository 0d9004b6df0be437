"""The tables, read by something that is not Spark."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from vlm4rec_spark import delta
from vlm4rec_spark.delta import TableNames
from vlm4rec_spark.tables import ALL_TABLES, ITEMS, RECOMMENDATIONS

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


def test_polars_and_duckdb_read_lists_and_the_protocol_stays_open_to_old_readers(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    placed = TableNames(None, names.schema, str(tmp_path))
    rows = [
        {"user_id": "u", "rank": rank, "item_id": f"i{rank}", "score": 1.0 / rank,
         "shared_attributes": ["red"], "arm": "profile"}
        for rank in (1, 2, 3)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=RECOMMENDATIONS.arrow_schema())
    delta.merge_on_key(spark, spark.createDataFrame(table), RECOMMENDATIONS, placed)
    folder = str(placed.path(RECOMMENDATIONS))
    assert DeltaTable(folder).protocol().min_reader_version == 1

    frame = pl.scan_delta(folder).filter(pl.col("rank") <= 2).collect()
    assert sorted(frame["item_id"].to_list()) == ["i1", "i2"]
    assert frame["shared_attributes"].to_list() == [["red"], ["red"]]

    lists = DeltaTable(folder).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("lists", lists)
        found = connection.execute(
            "SELECT user_id, list(item_id ORDER BY rank) FROM lists GROUP BY user_id"
        ).fetchall()
    assert found == [("u", ["i1", "i2", "i3"])]

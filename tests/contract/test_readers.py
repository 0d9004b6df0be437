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
from vlm4rec_spark.tables import ALL_TABLES, DESCRIPTIONS, ITEMS, RECOMMENDATIONS, TableSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_every_table_reads_back_with_its_schema_without_spark(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    placed = TableNames(None, names.schema, str(tmp_path))
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    row = {"item_id": "a", "title": "T", "available": True, "first_seen": now, "updated_at": now}
    attributes = [("colour", {"value": "red", "confidence": 0.5}), ("cut", {"value": None})]
    said = {"request_key": "k", "status": "ok", "description": "Words.", "attributes": attributes}
    old = [{**row, "title": "Old"}, {"item_id": "b", "available": False}]
    for spec, rows in ((ITEMS, old), (ITEMS, [row]), (DESCRIPTIONS, [said])):
        frame = spark.createDataFrame(pa.Table.from_pylist(rows, schema=spec.arrow_schema()))
        delta.merge_on_key(spark, frame, spec, placed)
    for spec in ALL_TABLES:
        delta.create_table(spark, spec, placed)
        assert seen_from_outside(placed, spec).schema == spec.arrow_schema(), spec.name
    found = {spec: seen_from_outside(placed, spec) for spec in (ITEMS, DESCRIPTIONS)}
    counts = {spec: delta.read(spark, spec, placed).count() for spec in found}
    assert {spec: table.num_rows for spec, table in found.items()} == counts
    assert list(counts.values()) == [2, 1]
    read = next(other for other in found[ITEMS].to_pylist() if other["item_id"] == "a")
    assert {k: read[k] for k in row} == row
    kept = {
        name: value["value"] for name, value in found[DESCRIPTIONS].to_pylist()[0]["attributes"]
    }
    assert kept == {"colour": "red", "cut": None}


def seen_from_outside(names: TableNames, spec: TableSpec) -> pa.Table:
    """Return a table as the package `deltalake` reads it."""
    return pa.table(DeltaTable(str(names.path(spec))).to_pyarrow_table())


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

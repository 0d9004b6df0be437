"""Writing Delta tables: once, only what differs, and found again by a second process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vlm4rec_spark import delta
from vlm4rec_spark.delta import MergeCounts, TableNames
from vlm4rec_spark.errors import SchemaError
from vlm4rec_spark.tables import ALL_TABLES, DESCRIPTIONS_LOG, ITEMS, RECOMMENDATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession


def _items(spark: SparkSession, *rows: str, run: str = "2026-01-01") -> DataFrame:
    """Rows as 'id title colour'; `run` goes into the volatile column."""
    values = ", ".join("('{}', '{}', '{}')".format(*row.split()) for row in rows)
    return spark.sql(
        f"SELECT id AS item_id, title, NULL AS category, NULL AS brand, 1 AS price, "
        f"TRUE AS available, map('colour', colour) AS attributes, NULL AS variant_group, "
        f"TIMESTAMP '2026-01-01' AS first_seen, TIMESTAMP '{run}' AS updated_at, "
        f"NULL AS request_key FROM VALUES {values} AS v(id, title, colour)"
    )


def _version(spark: SparkSession, names: TableNames) -> int:
    history = spark.sql(f"DESCRIBE HISTORY {names.qualified(ITEMS)} LIMIT 1").collect()
    return int(history[0]["version"])


def test_a_merge_writes_only_rows_that_differ(spark: SparkSession, names: TableNames) -> None:
    first = _items(spark, "1 hat red", "2 boot red")
    assert delta.merge_on_key(spark, first, ITEMS, names) == MergeCounts(2, 0, 0)
    version = _version(spark, names)
    again = _items(spark, "2 boot red", "1 hat red", run="2026-02-02")
    assert delta.merge_on_key(spark, again, ITEMS, names, delete_missing=True) == MergeCounts()
    assert _version(spark, names) == version, "an unchanged rerun must not commit"

    changed = _items(spark, "1 hat blue", "3 coat red", run="2026-02-02")
    counts = delta.merge_on_key(spark, changed, ITEMS, names, delete_missing=True)
    assert counts == MergeCounts(1, 1, 1)
    rows = delta.read(spark, ITEMS, names).orderBy("item_id").collect()
    assert [(r["item_id"], r["attributes"]["colour"]) for r in rows] == [
        ("1", "blue"),
        ("3", "red"),
    ]


def test_an_upsert_adds_and_replaces_and_leaves_the_rest(
    spark: SparkSession, names: TableNames
) -> None:
    assert delta.upsert(_items(spark, "1 hat red", "2 boot red"), ITEMS, names).inserted == 2
    later = _items(spark, "2 boot blue", "3 coat red", "1 hat red", run="2026-02-02")
    assert delta.upsert(later, ITEMS, names) == MergeCounts(1, 1, 0)
    rows = delta.read(spark, ITEMS, names).orderBy("item_id").collect()
    assert [(r["item_id"], r["attributes"]["colour"], r["updated_at"].month) for r in rows] == [
        ("1", "red", 1),
        ("2", "blue", 2),
        ("3", "red", 2),
    ]


def test_a_second_append_with_the_same_version_writes_nothing(
    spark: SparkSession, names: TableNames
) -> None:
    frame = _items(spark, "1 hat red")
    for version in (1, 1, 2, 1):
        delta.append_once(frame, ITEMS, names, "job", version)
    assert delta.read(spark, ITEMS, names).count() == 2


def test_a_row_that_breaks_a_constraint_is_refused(spark: SparkSession, names: TableNames) -> None:
    row = spark.sql(
        "SELECT 'u' user_id, 0 rank, 'i' item_id, 1D score, NULL because_item_id, "
        "0D because_share, NULL history_shares, NULL attribute_shares, NULL shared_attributes, "
        "'' reason, 'profile' arm, 'r' run_id"
    )
    with pytest.raises(Exception, match="DELTA_VIOLATE_CONSTRAINT_WITH_VALUES"):
        delta.append_once(row, RECOMMENDATIONS, names, "job", 1)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_tables_in_a_folder_or_at_an_address_are_found_without_their_names(
    spark: SparkSession, names: TableNames, tmp_path: Path, scheme: str
) -> None:
    placed = TableNames(None, names.schema, f"{scheme}{tmp_path}")
    assert not delta.table_exists(spark, ITEMS, placed)
    delta.merge_on_key(spark, _items(spark, "1 hat red"), ITEMS, placed)
    assert (tmp_path / names.schema / "items" / "_delta_log").is_dir()
    # What a second process sees: files, and a metastore that knows nothing.
    spark.sql(f"DROP TABLE {placed.qualified(ITEMS)}")
    assert delta.table_exists(spark, ITEMS, placed)
    assert delta.read(spark, ITEMS, placed).count() == 1


def test_a_frame_without_a_column_is_told_by_name(spark: SparkSession, names: TableNames) -> None:
    with pytest.raises(SchemaError, match="lacks the columns title"):
        delta.merge_on_key(spark, _items(spark, "1 hat red").drop("title"), ITEMS, names)


def test_all_tables_can_be_made_and_hold_what_their_spec_says(
    spark: SparkSession, names: TableNames
) -> None:
    for spec in ALL_TABLES:
        frame = delta.read(spark, spec, names)
        assert tuple(frame.columns) == spec.column_names
    nested = dict(delta.read(spark, DESCRIPTIONS_LOG, names).dtypes)["attributes"]
    assert nested == "map<string,struct<value:string,confidence:double>>"

"""Tables of an earlier version become tables of this one, and keep their rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from vlm4rec_spark import delta
from vlm4rec_spark.errors import SchemaError
from vlm4rec_spark.operations.migrations import migrate, pending
from vlm4rec_spark.tables import ALL_TABLES, ITEMS, RECOMMENDATIONS, Column

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

VERSIONS = sorted((Path(__file__).parent / "versions").glob("*.sql"))
OLD_ROWS = {
    "items": "(item_id, title, available) VALUES ('a', 'kept', TRUE)",
    "recommendations": "(user_id, rank, item_id, arm) VALUES ('u', 1, 'a', 'profile')",
}


def make_earlier(spark: SparkSession, names: TableNames, version: Path) -> None:
    lines = version.read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("--"))
    text = text.replace("`earlier`", names.qualified_schema)
    rows = [f"INSERT INTO {names.schema}.{table} {row}" for table, row in OLD_ROWS.items()]
    statements = (*text.split(";\n"), *rows)
    for statement in statements:
        if statement.strip():
            spark.sql(statement)


@pytest.mark.delta
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.stem)
def test_tables_of_each_earlier_version_are_brought_to_this_one(
    spark: SparkSession, names: TableNames, version: Path
) -> None:
    make_earlier(spark, names, version)
    told = pending(spark, names)
    assert migrate(spark, names) == told
    assert pending(spark, names) == [], "a second migration must find nothing to do"
    for spec in ALL_TABLES:
        delta.create_table(spark, spec, names)
    assert delta.read(spark, ITEMS, names).collect()[0]["title"] == "kept"
    assert delta.read(spark, RECOMMENDATIONS, names).collect()[0]["item_id"] == "a"


@pytest.mark.delta
def test_columns_are_added_constraints_replaced_and_comments_brought_up_to_date(
    spark: SparkSession, names: TableNames
) -> None:
    delta.create_table(spark, ITEMS, names)
    spark.sql(f"INSERT INTO {names.qualified(ITEMS)} (item_id, available) VALUES ('a', TRUE)")
    commented = [replace(c, comment="Said") if c.name == "title" else c for c in ITEMS.columns]
    later = replace(
        ITEMS,
        columns=(*commented, Column("colour", pa.string(), "It's new")),
        constraints=(("available_known", "available IS NOT NULL OR colour = 'a b'"),),
    )
    statements = migrate(spark, names, [later])
    assert [statement.partition(" `")[0].split(".")[0][:11] for statement in statements] == [
        "ALTER TABLE"
    ] * 4
    assert migrate(spark, names, [later]) == []
    row = spark.table(names.qualified(ITEMS)).collect()[0]
    assert (row["item_id"], row["colour"]) == ("a", None)
    with pytest.raises(Exception, match="DELTA_VIOLATE_CONSTRAINT_WITH_VALUES"):
        spark.sql(f"INSERT INTO {names.qualified(ITEMS)} (item_id) VALUES ('b')")


@pytest.mark.delta
def test_a_column_of_another_type_is_told_and_nothing_is_altered(
    spark: SparkSession, names: TableNames
) -> None:
    delta.create_table(spark, ITEMS, names)
    wrong = [replace(c, type=pa.string()) if c.name == "price" else c for c in ITEMS.columns]
    later = replace(ITEMS, columns=(*wrong, Column("colour", pa.string(), "New")))
    with pytest.raises(SchemaError, match=r"items\.price is double, expected string"):
        migrate(spark, names, [later])
    assert "colour" not in spark.table(names.qualified(ITEMS)).columns

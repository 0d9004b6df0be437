"""The tables as data."""

from __future__ import annotations

import pyarrow as pa
import pytest

from vlm4rec_spark.tables import ALL_TABLES, DESCRIPTIONS, ITEMS, TableSpec, sql_type


@pytest.mark.parametrize("spec", ALL_TABLES, ids=lambda spec: spec.name)
def test_every_spec_has_comments_and_keys_that_are_never_null(spec: TableSpec) -> None:
    assert spec.comment
    assert all(column.comment for column in spec.columns)
    schema = spec.arrow_schema()
    assert not any(schema.field(name).nullable for name in spec.key)
    assert set(spec.cluster_by) <= set(spec.column_names)
    assert len(spec.column_names) == len(set(spec.column_names))


def test_nested_types_are_named_as_spark_names_them() -> None:
    kind = DESCRIPTIONS.arrow_schema().field("attributes").type
    assert sql_type(kind) == "MAP<STRING, STRUCT<value: STRING, confidence: DOUBLE>>"


def test_some_columns_can_be_picked_in_another_order() -> None:
    assert ITEMS.arrow_schema("price", "item_id").names == ["price", "item_id"]
    assert ITEMS.spark_ddl("price", "item_id") == "`price` DOUBLE, `item_id` STRING"


def test_a_create_statement_carries_comments_clustering_and_the_change_feed() -> None:
    text = ITEMS.create_statement("s.items", "/it's")
    assert text.startswith("CREATE TABLE IF NOT EXISTS s.items (")
    assert "`item_id` STRING NOT NULL COMMENT 'Id of the item as text'" in text
    assert "CLUSTER BY (item_id)" in text
    assert "LOCATION '/it\\'s'" in text
    assert "delta.enableChangeDataFeed" in text


def test_times_are_utc_microseconds() -> None:
    assert ITEMS.arrow_schema().field("updated_at").type == pa.timestamp("us", tz="UTC")

"""Items and interactions from a real PostgreSQL: in parallel, only what is new, no secret told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.postgres import PASSWORD
from vlm4rec_spark import delta
from vlm4rec_spark.catalog.sources import read_items, read_source
from vlm4rec_spark.config import load_config
from vlm4rec_spark.doctor import examine_sources
from vlm4rec_spark.errors import ConfigError, SourceError
from vlm4rec_spark.tables import SOURCE_ITEMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

    from tests.postgres import Postgres
    from vlm4rec_spark.config import Config
    from vlm4rec_spark.delta import TableNames

pytestmark = pytest.mark.spark


@pytest.fixture
def shop(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    monkeypatch.setenv("SHOP_DB_PASSWORD", PASSWORD)
    postgres.run(
        "CREATE TABLE events (id bigint PRIMARY KEY, customer text, sku text, "
        "at timestamptz, kind text)",
        "INSERT INTO events SELECT n, 'u' || n % 7, 'i' || n % 11, "
        "timestamptz '2026-05-01 00:00+00' + n * interval '1 hour', 'view' "
        "FROM generate_series(1, 1000) n",
        "CREATE TABLE products (sku text, name text, photo text, stock int, changed timestamp)",
        "INSERT INTO products SELECT 'i' || n, 'Item ' || n, 'i' || n || '.jpg', 1, "
        "timestamp '2026-05-01' + n * interval '1 day' FROM generate_series(0, 10) n",
    )
    yield postgres
    postgres.run("DROP TABLE events", "DROP TABLE products")


def config_for(shop: Postgres, *settings: str) -> Config:
    options = (
        f"{{url: '{shop.jdbc_url}', user: shop, password: '${{env:SHOP_DB_PASSWORD}}', "
        "driver: org.postgresql.Driver}"
    )
    log = "{user_id: customer, item_id: sku, timestamp: at, event_type: kind}"
    return load_config(
        None,
        [
            "sources.items.format=jdbc",
            f"sources.items.options={options}",
            "sources.items.table=public.products",
            "sources.items.columns={item_id: sku, title: name, image: photo, available: stock}",
            "sources.interactions.format=jdbc",
            f"sources.interactions.options={options}",
            "sources.interactions.table=public.events",
            f"sources.interactions.columns={log}",
            *settings,
        ],
    )


def test_a_table_is_read_in_parallel_over_the_range_of_a_column(
    spark: SparkSession, shop: Postgres
) -> None:
    config = config_for(shop, "sources.interactions.partitions={column: id, count: 4}")
    frame = read_source(spark, config.sources.interactions)
    per_task = frame.selectExpr("SPARK_PARTITION_ID() AS task").groupBy("task").count().collect()
    counts = [row["count"] for row in per_task]
    assert (len(counts), sum(counts)) == (4, 1000)
    assert max(counts) - min(counts) < 5
    assert frame.select("user_id").distinct().count() == 7
    assert read_items(spark, config).count() == 11


def test_only_what_is_new_is_fetched_and_late_rows_are_not_lost(
    spark: SparkSession, shop: Postgres, names: TableNames
) -> None:
    config = config_for(shop, "sources.interactions.watermark={column: at, overlap: 3}")
    source = config.sources.interactions
    assert read_source(spark, source, names).count() == 1000
    shop.run(
        # Old rows vanish in the shop's archive: fetched once, they stay here.
        "DELETE FROM events WHERE id <= 500",
        # Committed late, an hour behind the newest row; and a correction within the overlap.
        "INSERT INTO events SELECT 2000, 'late', 'i1', max(at) - interval '1 hour', 'view' "
        "FROM events",
        "UPDATE events SET kind = 'purchase' WHERE id = 999",
        "INSERT INTO events SELECT 2001, 'new', 'i1', max(at) + interval '5 days', 'view' "
        "FROM events",
    )
    again = read_source(spark, source, names)
    assert again.count() == 1002
    assert again.where("user_id IN ('late', 'new')").count() == 2
    assert again.where("event_type = 'purchase'").count() == 1
    asked = [line for line in shop.log.read_text().splitlines() if "FROM public.events" in line]
    assert """WHERE ("at" IS NOT NULL) AND ("at" >= '2026-06-11 13:00:00""" in asked[-1]


def test_a_change_of_the_mapping_fetches_everything_again(
    spark: SparkSession, shop: Postgres, names: TableNames
) -> None:
    watermark = "sources.interactions.watermark={column: id, overlap: 0}"
    first = config_for(shop, watermark, "sources.interactions.columns.event_type=null")
    assert "event_type" not in read_source(spark, first.sources.interactions, names).columns
    second = config_for(shop, watermark).sources.interactions
    assert read_source(spark, second, names).where("event_type = 'view'").count() == 1000


def test_changed_products_replace_the_rows_fetched_before(
    spark: SparkSession, shop: Postgres, names: TableNames
) -> None:
    config = config_for(shop, "sources.items.watermark={column: changed}")
    assert read_items(spark, config, names).count() == 11
    shop.run(
        "UPDATE products SET name = 'Better', stock = 0, changed = '2026-06-01' WHERE sku = 'i3'",
        "INSERT INTO products VALUES ('i99', 'Fresh', 'f.jpg', 1, '2026-06-01 01:00')",
    )
    items = read_items(spark, config, names)
    assert items.count() == 12
    changed = items.where("item_id = 'i3'").collect()[0]
    assert (changed["title"], changed["available"], changed["image"]) == (
        "Better", False, ["i3.jpg"],
    )  # fmt: skip
    assert delta.read(spark, SOURCE_ITEMS, names).where("watermark IS NULL").count() == 0


def test_a_wrong_password_or_a_missing_variable_is_told_without_the_secret(
    spark: SparkSession, shop: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DB_PASSWORD", "not-the-password-99")
    with pytest.raises(SourceError, match="cannot read jdbc from") as caught:
        read_source(spark, config_for(shop).sources.interactions)
    assert "not-the-password-99" not in f"{caught.value!r} {caught.value.__cause__!r}"
    monkeypatch.delenv("SHOP_DB_PASSWORD")
    with pytest.raises(ConfigError, match="SHOP_DB_PASSWORD is not set"):
        read_source(spark, config_for(shop).sources.interactions)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("sources.interactions.table=events; DROP TABLE events", "is not a table's name"),
        ("sources.interactions.partitions.column=id) FROM x --", "is not a column's name"),
    ],
)
def test_names_from_the_configuration_never_become_other_sql(
    spark: SparkSession, shop: Postgres, setting: str, words: str
) -> None:
    config = config_for(shop, "sources.interactions.partitions={column: id}", setting)
    with pytest.raises(ConfigError, match=words):
        read_source(spark, config.sources.interactions)
    assert shop.rows("SELECT count(*) FROM events") == [(1000,)]


def test_a_watermark_that_cannot_grow_is_refused(
    spark: SparkSession, shop: Postgres, names: TableNames
) -> None:
    config = config_for(shop, "sources.interactions.watermark={column: kind}")
    with pytest.raises(SourceError, match="expected a time or an integer"):
        read_source(spark, config.sources.interactions, names)


def test_the_doctor_tells_which_sources_can_be_read_and_no_secret(
    spark: SparkSession, shop: Postgres
) -> None:
    config = config_for(shop, "sources.items.table=public.nothing")
    found = {check.what: check for check in examine_sources(spark, config)}
    assert {name: check.state for name, check in found.items()} == {
        "sources.items": "bad", "sources.interactions": "ok", "sources.users": "note",
    }  # fmt: skip
    assert "cannot read jdbc from public.nothing" in found["sources.items"].found
    assert found["sources.interactions"].found == "public.events: 5 columns"
    assert PASSWORD not in "".join(check.found for check in found.values())

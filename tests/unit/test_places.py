"""Where tables are: a folder of this machine, or an address of a store that Spark reads."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import create_autospec

import pytest
from pyspark.sql import SparkSession

from vlm4rec_spark.config import load_config
from vlm4rec_spark.pipeline import table_names
from vlm4rec_spark.tables import ITEMS


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("s3://bucket/shop", "s3://bucket/shop/recs/items"),
        ("s3://bucket/shop/", "s3://bucket/shop/recs/items"),
        ("abfss://c@account.example/shop", "abfss://c@account.example/shop/recs/items"),
        ("dbfs:/shop", "dbfs:/shop/recs/items"),
        ("/mnt/shop/", "/mnt/shop/recs/items"),
        ("build/shop", str(Path("build/shop/recs/items").absolute())),
    ],
)
def test_the_tables_of_a_store_keep_its_address_and_a_folder_becomes_absolute(
    location: str, path: str
) -> None:
    config = load_config(None, [f"tables.location={location}", "tables.schema=recs"])
    spark = create_autospec(SparkSession, instance=True)
    assert table_names(spark, config).path(ITEMS) == path

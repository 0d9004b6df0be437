"""Opening a source: one that nobody has configured is told by its name."""

from __future__ import annotations

from unittest.mock import create_autospec

import pytest
from pyspark.sql import SparkSession

from vlm4rec_spark.catalog.sources import read_items, read_source
from vlm4rec_spark.config import load_config
from vlm4rec_spark.errors import ConfigError


def test_a_source_that_is_not_configured_is_named_with_what_to_set() -> None:
    spark = create_autospec(SparkSession, instance=True)
    config = load_config()
    expected = (
        r"sources\.items is not configured: set sources\.items\.table, or .*format with a path"
    )
    with pytest.raises(ConfigError, match=expected):
        read_items(spark, config)
    with pytest.raises(ConfigError, match=r"sources\.interactions is not configured: set "):
        read_source(spark, config.sources.interactions)
    with pytest.raises(ConfigError, match=r"sources\.items is not configured"):
        read_items(spark, load_config(None, ["images.kind=directory"]))

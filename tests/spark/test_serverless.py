"""The guard over all Spark tests bites; the stages' own tests show that nothing runs into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.serverless import ServerlessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
REFUSED: list[Callable[[SparkSession], object]] = [
    lambda spark: spark.conf.set("spark.sql.shuffle.partitions", "1"),
    lambda spark: spark.conf.unset("spark.sql.shuffle.partitions"),
    lambda spark: spark.sql("SET spark.sql.shuffle.partitions = 1"),
    lambda spark: spark.sql("  cache table t"),
    lambda spark: spark.range(1).cache(),
    lambda spark: spark.range(1).persist(),
    lambda spark: spark.range(1).select("id").checkpoint(),
    lambda spark: spark.range(1).createOrReplaceGlobalTempView("v"),
    lambda spark: spark.catalog.cacheTable("t"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_serverless_compute_refuses_is_refused_in_every_spark_test(
    spark: SparkSession, number: int
) -> None:
    with pytest.raises(ServerlessError):
        REFUSED[number](spark)


def test_the_rest_works(spark: SparkSession) -> None:
    assert spark.sql("SELECT 1 AS settled").collect()[0][0] == 1
    assert spark.range(3).count() == 3

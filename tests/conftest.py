"""Fixtures: one Spark session for all tests that ask for one, a fresh schema for each test."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.postgres import Postgres, postgres_programs, running_postgres
from vlm4rec_spark.catalog.jdbc import POSTGRES_DRIVER
from vlm4rec_spark.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext

SMALL = {
    # Compiling the code of a query takes longer than a test's few rows do.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
}
"""What spares a session over tiny tables its overhead; tests/contract runs without."""


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Start Spark at the first test that needs it.

    Classic, or Connect where VLM4REC_TEST_REMOTE says so (`local[2]`): then PySpark takes a free
    port for its server where SPARK_TESTING is set, as several test processes need.
    """
    from vlm4rec_spark.session import build_session

    remote = os.environ.get("VLM4REC_TEST_REMOTE") or None
    extra = SMALL if remote else {**SMALL, "spark.master": "local[2]"}
    warehouse = str(tmp_path_factory.mktemp("warehouse"))
    session = build_session(
        "vlm4rec-tests",
        remote=remote,
        extra=extra,
        warehouse=warehouse,
        packages=(POSTGRES_DRIVER,),
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL server of its own on loopback; skip where none is installed."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with running_postgres(programs) as server:
        yield server


@pytest.fixture
def names(spark: SparkSession) -> Iterator[TableNames]:
    """Return a schema of its own for the test, dropped afterwards."""
    from vlm4rec_spark.delta import TableNames

    fresh = TableNames(None, f"t_{uuid.uuid4().hex[:12]}")
    yield fresh
    spark.sql(f"DROP SCHEMA IF EXISTS {fresh.qualified_schema} CASCADE")


@pytest.fixture
def context(spark: SparkSession, names: TableNames, tmp_path: Path) -> RunContext:
    """Return the context of a run with the default configuration, its files under tmp_path."""
    from vlm4rec_spark.runs import RunContext

    settings = [f"tables.schema={names.schema}", f"topk.index_path={tmp_path}/index"]
    return RunContext(spark, load_config(None, settings), names, "test-run")

"""Fixtures: one Spark session for all tests that ask for one, a fresh schema for each test."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.ports import free_port
from tests.postgres import Postgres, postgres_programs, running_postgres
from tests.serverless import refuse
from vlm4rec_spark.catalog.jdbc import POSTGRES_DRIVER
from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions.local import CACHE_ROOT, servers_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext


settings.register_profile("patient", deadline=None)  # whether code is right has no time limit
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def own_temp_folder() -> Iterator[None]:
    """Keep the model servers of test processes that run side by side apart.

    What vLLM keeps from one start to the next they share.
    """
    os.environ.setdefault(CACHE_ROOT, str(servers_folder() / "cache"))
    # Not below pytest's folders: the path of a unix socket has 107 bytes.
    with tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as a user of its own
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = None  # read again
        yield


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Start Spark at the first test that needs it.

    Classic, or Connect where VLM4REC_TEST_REMOTE says so (`local[2]`); what serverless compute
    refuses it refuses, too.
    """
    from pyspark.sql.connect.client import DefaultChannelBuilder

    from vlm4rec_spark.session import SMALL_DATA, build_session

    remote = os.environ.get("VLM4REC_TEST_REMOTE") or None
    port = free_port()
    own = {"spark.connect.grpc.binding.port": str(port)} if remote else {"spark.master": "local[2]"}
    with pytest.MonkeyPatch.context() as patch:
        # PySpark looks for a server that it started itself on one port only; several test
        # processes need one each.
        patch.setattr(DefaultChannelBuilder, "default_port", staticmethod(lambda: port))
        patch.setenv("VLM4REC_TEST_KEY", "sk-told-to-nobody")  # workers see what Java starts with
        session = build_session(
            "vlm4rec-tests",
            remote=remote,
            extra={**SMALL_DATA, **own},
            warehouse=str(tmp_path_factory.mktemp("warehouse")),
            packages=(POSTGRES_DRIVER,),
        )
        refuse(session, patch)
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


@contextlib.contextmanager
def fresh_schema(spark: SparkSession) -> Iterator[TableNames]:
    """Return a schema that nobody else uses, dropped afterwards."""
    from vlm4rec_spark.delta import TableNames

    fresh = TableNames(None, f"t_{uuid.uuid4().hex[:12]}")
    yield fresh
    spark.sql(f"DROP SCHEMA IF EXISTS {fresh.qualified_schema} CASCADE")


@pytest.fixture
def names(spark: SparkSession) -> Iterator[TableNames]:
    """Return a schema of its own for the test."""
    with fresh_schema(spark) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def shared_names(spark: SparkSession) -> Iterator[TableNames]:
    """Return a schema for runs that several tests of a file look at."""
    with fresh_schema(spark) as fresh:
        yield fresh


@pytest.fixture
def context(spark: SparkSession, names: TableNames, tmp_path: Path) -> RunContext:
    """Return the context of a run with the default configuration, its files under tmp_path."""
    from vlm4rec_spark.runs import RunContext

    settings = [f"tables.schema={names.schema}", f"topk.index_path={tmp_path}/index"]
    return RunContext(spark, load_config(None, settings), names, "test-run")

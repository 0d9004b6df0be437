"""A standalone Spark cluster (a master and two workers on loopback) makes the same tables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyspark
import pytest

from tests.contract.jobs import comparable, read_table, run_jobs, write_conf
from tests.ports import free_port
from vlm4rec_spark.config import load_config
from vlm4rec_spark.demo.settings import ShopConfig
from vlm4rec_spark.demo.world import write_world
from vlm4rec_spark.pipeline import Pipeline
from vlm4rec_spark.session import SHORT_LIVED_JAVA

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
PACKAGE = "org.apache.spark.deploy"
COMPARED = ("items", "images", "descriptions", "item_vectors", "profiles", "recommendations")


def start(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a daemon of the cluster, its log in a file."""
    environment = {
        **os.environ,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
        "JAVA_TOOL_OPTIONS": SHORT_LIVED_JAVA,
        "SPARK_WORKER_DIR": str(folder / f"work-{name}"),
        "PYSPARK_PYTHON": sys.executable,
    }
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [str(SPARK_CLASS), *arguments],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@pytest.fixture
def master(tmp_path: Path) -> Iterator[str]:
    """Start a cluster and return its address."""
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    daemons = [
        start(
            tmp_path,
            "master",
            *(f"{PACKAGE}.master.Master", "--host", "127.0.0.1", "--port", str(port)),
            *("--webui-port", str(free_port())),
        )
    ]
    worker = (f"{PACKAGE}.worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "2g")
    for number in (1, 2):
        ports = ("--webui-port", str(free_port()), address)
        daemons.append(start(tmp_path, f"worker{number}", *worker, *ports))
    _wait_for_workers(tmp_path / "master.log", 2)
    yield address
    for daemon in daemons:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def _wait_for_workers(log: Path, n: int) -> None:
    deadline = time.monotonic() + 120
    while log.read_text("utf-8", "replace").count("Registering worker") < n:
        assert time.monotonic() < deadline, log.read_text("utf-8", "replace")[-2000:]
        time.sleep(0.5)


def shop_conf(tmp_path: Path, name: str) -> Path:
    """Return a configuration over the small shop that writes to a place of its own."""
    shop = tmp_path / "shop"
    settings: dict[str, Any] = {
        "tables": {"schema": "shop", "location": str(tmp_path / name / "tables")},
        "sources": {
            "items": {
                "format": "parquet",
                "path": str(shop / "items.parquet"),
                "columns": {"category": "category", "available": "available"},
            },
            "interactions": {
                "format": "parquet",
                "path": str(shop / "interactions.parquet"),
                "columns": {"event_type": "event_type"},
            },
        },
        "images": {"base": str(shop)},
        "describe": {"attributes": "generic", "engine": {"kind": "fake"}},
        "embed": {"model": "demo", "texts": ["caption"]},
        "topk": {"k": 5, "similar_k": 3, "index_path": str(tmp_path / name / "index")},
    }
    return write_conf(tmp_path / f"{name}.yml", settings)


def test_a_cluster_makes_the_same_tables_as_one_machine(
    spark: SparkSession, tmp_path: Path, master: str
) -> None:
    write_world(tmp_path / "shop", ShopConfig(items=40, users=50))
    here = Pipeline(spark, load_config(str(shop_conf(tmp_path, "local"))))
    here.catalog()
    here.recommend()
    there = shop_conf(tmp_path, "cluster")
    run_jobs(there, master, "catalog", "recommend", folder=tmp_path)
    executors = [p for w in (1, 2) for p in (tmp_path / f"work-worker{w}").glob("app-*/*")]
    assert len(executors) == 2
    for table in COMPARED:
        local = comparable(read_table(tmp_path / "local/tables/shop", table))
        cluster = comparable(read_table(tmp_path / "cluster/tables/shop", table))
        assert local == cluster, table
        assert local

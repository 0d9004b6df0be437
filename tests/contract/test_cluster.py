"""A standalone Spark cluster (a master and two workers on loopback) makes the same tables.

Python workers die meanwhile, as the kernel kills them where memory is short.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import running_cluster
from tests.contract.jobs import comparable, read_table, run_jobs, write_conf
from vlm4rec_spark.config import load_config
from vlm4rec_spark.demo.settings import ShopConfig
from vlm4rec_spark.demo.world import write_world
from vlm4rec_spark.pipeline import Pipeline

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
DEATH_RATE = 0.08
"""Of the forty requests those at which a Python worker is killed, once on each executor."""
PATIENT = {"spark.task.maxFailures": "20"}
COMPARED = (
    "items", "images", "descriptions", "item_vectors", "profiles", "recommendations",
    "similar_items",
)  # fmt: skip


@pytest.fixture
def master(tmp_path: Path) -> Iterator[str]:
    """Start a cluster and return its address."""
    with running_cluster(tmp_path) as cluster:
        yield cluster.address


def shop_conf(tmp_path: Path, name: str, **engine: Any) -> Path:
    """Return a configuration over the small shop that writes to a place of its own.

    Args:
        tmp_path: holds the shop.
        name: of the place.
        engine: settings of the fake engine.
    """
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
        "describe": {"attributes": "generic", "engine": {"kind": "fake", **engine}},
        "embed": {"model": "demo", "texts": ["caption"]},
        "topk": {"k": 5, "similar_k": 3, "index_path": str(tmp_path / name / "index")},
    }
    return write_conf(tmp_path / f"{name}.yml", settings)


def test_a_cluster_whose_workers_die_makes_the_same_tables_as_one_machine(
    spark: SparkSession, tmp_path: Path, master: str
) -> None:
    write_world(tmp_path / "shop", ShopConfig(items=40, users=50))
    here = Pipeline(spark, load_config(str(shop_conf(tmp_path, "local"))))
    here.catalog()
    here.recommend()
    there = shop_conf(tmp_path, "cluster", death_rate=DEATH_RATE)
    run_jobs(there, master, "catalog", "recommend", folder=tmp_path, settings=PATIENT)
    executors = [p for w in (1, 2) for p in (tmp_path / f"work-worker{w}").glob("app-*/*")]
    assert len(executors) == 2
    assert list(Path(tempfile.gettempdir()).glob("vlm4rec-*/deaths/*")), "no worker has died"
    log = read_table(tmp_path / "cluster/tables/shop", "descriptions_log")
    assert max(Counter(row["request_key"] for row in log).values()) == 1
    for table in COMPARED:
        local = comparable(read_table(tmp_path / "local/tables/shop", table))
        cluster = comparable(read_table(tmp_path / "cluster/tables/shop", table))
        assert local == cluster, table
        assert local

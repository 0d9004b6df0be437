"""What a dry run tells, and that it leaves every file as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.shop_folder import NOW, N, write_shop
from vlm4rec_spark import testing
from vlm4rec_spark.config import load_config
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.operations import dry_run
from vlm4rec_spark.pipeline import table_names
from vlm4rec_spark.runs import RunContext

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.delta]


def context_of(spark: SparkSession, folder: Path, *settings: str) -> RunContext:
    """Return a context over the folder's log and over a catalogue with one item swapped."""
    ids = [testing.item_id(n) for n in range(1, N + 1)]
    rows: dict[str, list[Any]] = {"item_id": ids, "title": [f"Item {n}" for n in range(1, N + 1)],
            "category": ["Coats"] * N, "brand": ["Basta"] * N,
            "price": [10.0 + n for n in range(1, N)] + [99.0],
            "available": [n != N - 1 for n in range(1, N + 1)],
            "image": [f"{n}.jpg" for n in range(1, N + 1)]}  # fmt: skip
    rows["price"][0] = 1.0
    pq.write_table(pa.table(rows), folder / "items.parquet")
    names = ("category", "brand", "price", "available", "image")
    columns = ", ".join(f"{name}: {name}" for name in names)
    config = load_config(None, [
        f"tables.location={folder}/tables", "tables.schema=recs", "embed.model=demo",
        f"topk.index_path={folder}/index", "sources.interactions.format=parquet",
        f"sources.interactions.path={folder}/log.parquet",
        "sources.interactions.columns={user_id: customer, event_type: kind}",
        "sources.items.format=parquet", f"sources.items.path={folder}/items.parquet",
        f"sources.items.columns={{{columns}}}",
        f"evaluate.split.cut={NOW.isoformat()}", *settings,
    ])  # fmt: skip
    return RunContext(spark, config, table_names(spark, config), "dry")


@pytest.fixture(autouse=True)
def _no_name_stays(spark: SparkSession) -> Iterator[None]:
    yield
    spark.sql("DROP SCHEMA IF EXISTS recs CASCADE")


def files_of(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_dry_run_counts_what_a_run_would_do_and_writes_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_shop(tmp_path)
    context = context_of(spark, tmp_path)
    before = files_of(tmp_path)
    told = dict(dry_run.catalog(context).counts)
    wanted = {"items": N, "pictures": N, "new": 1, "changed": 1, "left": 1}
    assert {name: told[f"catalog.{name}"] for name in wanted} == wanted
    # Every stored item is described; its texts were embedded nowhere.
    assert told["descriptions.pending"] == 0
    assert told["embeddings.pending"] > 0
    told = dict(dry_run.recommend(context).counts)
    assert (told["profiles.rows"], told["profiles.users"], told["topk.items"]) == (2, 2, N)
    told = dict(dry_run.evaluate(context).counts)
    assert told["rows_no_history"] == 2
    assert told["users"] == 0
    assert files_of(tmp_path) == before


def test_a_dry_run_before_the_first_run_makes_no_table_and_finds_everything_new(
    spark: SparkSession, tmp_path: Path
) -> None:
    context = context_of(spark, tmp_path)
    told = dry_run.catalog(context).counts
    assert (told["catalog.new"], told["catalog.left"]) == (N, 0)
    assert not (tmp_path / "tables").exists()


def test_a_dry_run_of_the_recommend_job_refuses_a_wrong_rule(
    spark: SparkSession, tmp_path: Path
) -> None:
    wrong = context_of(spark, tmp_path, "topk.rules=['colr = 1']")
    with pytest.raises(ConfigError, match="colr"):
        dry_run.recommend(wrong)

"""The describe stage on Spark and Delta, with the fake engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.describe_shop import Run, Shop
from vlm4rec_spark import delta, testing
from vlm4rec_spark.catalog import job as catalog_job
from vlm4rec_spark.config import load_config
from vlm4rec_spark.config_models import DescribeConfig
from vlm4rec_spark.descriptions import plan
from vlm4rec_spark.descriptions.job import run
from vlm4rec_spark.descriptions.plan import QUEUE
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

pytestmark = [pytest.mark.spark, pytest.mark.delta]


@dataclass(frozen=True)
class Life:
    """Runs of the stage on one shop, one after the other."""

    first: Run
    """Slices of one request; the picture of e is missing, d has none."""
    after_a_crash: Run
    """Between the append and the merge; the picture of e is there again."""
    attempts: list[tuple[int, str]]
    """(attempt, status) of the requests so far."""
    nothing_new: Run
    commits: int
    """Of the run with nothing new."""
    changed: Run
    """Item a has another picture."""
    two_requests: Run
    """With other settings of the engine, and a budget."""
    popular_first: Run
    """Three items are new since one day, which people have looked at, or not; a slice costs all
    that there is."""


@pytest.fixture(scope="module")
def life(
    spark: SparkSession, shared_names: TableNames, tmp_path_factory: pytest.TempPathFactory
) -> Life:
    shop = Shop(spark, shared_names, tmp_path_factory.mktemp("life"))
    shop.show(a=1, b=2, c=2, d=None, e=4)
    shop.break_picture("e")
    first = shop.describe("describe.slice_rows=1")

    shop.mend_picture("e")
    spark.sql(f"DELETE FROM {shared_names.qualified(DESCRIPTIONS)}")
    after_a_crash = shop.describe()
    log = delta.read(spark, DESCRIPTIONS_LOG, shared_names).collect()
    attempts = sorted((row["attempt"], row["status"]) for row in log)

    before = sum(shop.versions())
    nothing_new = shop.describe()
    commits = sum(shop.versions()) - before

    shop.show(a=3, b=2, c=2, d=None, e=4)
    changed = shop.describe()

    other = ("describe.engine.max_tokens=99", "describe.slice_rows=1")
    two_requests = shop.describe(*other, "describe.max_requests=2")
    costly = ("describe.cost.output_per_million=1000000", "describe.cost.max_cost=1")
    shop.days = dict.fromkeys("fgh", 9)
    shop.show(a=3, b=2, c=2, d=None, e=4, f=5, g=6, h=7)
    views = write_views(shop.folder, f=2, g=1, a=3)
    popular_first = shop.describe(*other, *costly, *views)
    return Life(
        *(first, after_a_crash, attempts, nothing_new, commits, changed, two_requests),
        popular_first,
    )


def write_views(folder: Path, **views: int) -> tuple[str, ...]:
    """Write a log in which each item was looked at so often; return the settings that name it."""
    moment = datetime(2026, 2, 1, tzinfo=timezone.utc)
    rows = [
        {"user_id": f"u{n}", "item_id": item, "timestamp": moment}
        for item, count in views.items()
        for n in range(count)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "views.parquet")
    path = f"sources.interactions.path={folder}/views.parquet"
    return "sources.interactions.format=parquet", path


def test_only_new_and_changed_pictures_are_asked_about(life: Life) -> None:
    first, changed = life.first, life.changed
    assert first.of("wanted", "requests", "described", "failed") == (3, 2, 2, 1)
    assert first.counts["items_without_picture"] == 1
    assert sorted(first.rows) == ["a", "b", "c", "e"]
    assert first.rows["b"]["request_key"] == first.rows["c"]["request_key"]
    assert first.rows["a"]["attributes"]["colour"]["value"] != ""

    assert life.nothing_new.of("wanted", "reused", "requests") == (3, 3, 0)
    assert life.commits == 0

    assert changed.of("wanted", "reused", "requests") == (3, 2, 1)
    assert changed.rows["a"]["request_key"] != first.rows["a"]["request_key"]
    assert changed.rows["b"] == first.rows["b"]

    assert life.two_requests.of("wanted", "reused", "requests") == (3, 0, 2)


def test_one_bad_picture_is_a_row_and_is_tried_again(life: Life) -> None:
    assert life.first.of("described", "failed", "requests") == (2, 1, 2)
    row = life.first.rows["e"]
    assert (row["status"], row["stage"], row["error_code"]) == ("error", "fetch", "missing")

    assert life.after_a_crash.of("reused", "described") == (2, 1)
    assert life.after_a_crash.rows["e"]["status"] == "ok"
    assert life.attempts == [(1, "error"), (1, "ok"), (1, "ok"), (2, "ok")]


def test_what_a_dead_run_landed_is_merged_and_not_asked_again(life: Life) -> None:
    assert life.after_a_crash.of("reused", "requests") == (2, 1)  # the one that had failed
    assert {row["status"] for row in life.after_a_crash.rows.values()} == {"ok"}
    assert life.after_a_crash.rows["a"] == life.first.rows["a"]


def test_under_a_budget_the_newest_items_come_first_and_of_one_day_the_most_popular(
    life: Life,
) -> None:
    assert life.two_requests.of("wanted", "requests", "left") == (3, 2, 1)
    assert sorted(life.two_requests.rows) == ["b", "c", "e"]
    assert life.popular_first.of("requests", "left") == (1, 3)
    assert sorted(life.popular_first.rows) == ["b", "c", "e", "f"]


SENT_AGAIN = (
    "fetch missing", "fetch http_400", "request http_429", "request http_503", "request timeout",
    "request http_401", "generate empty",
)  # fmt: skip
SETTLED = (
    "decode unreadable", "request http_400", "request http_413", "request http_415",
    "request http_422", "generate poison", "truncated length", "parse no_json",
    "validate wrong_value",
)  # fmt: skip


def test_what_may_be_otherwise_tomorrow_is_sent_again_and_what_is_wrong_for_good_is_not(
    spark: SparkSession,
) -> None:
    keys = (*SENT_AGAIN, *SETTLED, "ok", "copied")
    items = spark.createDataFrame(
        [(key, key, None, None) for key in (*keys, "new")],
        "item_id STRING, request_key STRING, category STRING, title STRING",
    )
    rows = [(key, "error", *key.split(), None) for key in (*SENT_AGAIN, *SETTLED)]
    rows += [("ok", "ok", None, None, None), ("copied", "ok", None, None, "ok")]
    descriptions = spark.createDataFrame(
        rows,
        "request_key STRING, status STRING, stage STRING, error_code STRING, copied_from STRING",
    )
    log = spark.createDataFrame([(key, 2) for key in keys], "request_key STRING, attempt INT")
    again = dict.fromkeys((*SENT_AGAIN, "copied"), 3)
    for config, expected in (
        (DescribeConfig(), again),
        (DescribeConfig(near_duplicates=0), dict.fromkeys(SENT_AGAIN, 3)),
        (DescribeConfig(retry_errors=True), again | dict.fromkeys(SETTLED, 3)),
    ):
        found = plan.pending(items, plan.settled(descriptions, config), log).collect()
        attempts = {row["request_key"]: row["attempt"] for row in found}
        assert attempts == {**expected, "new": 1}
    kept = plan.settled(descriptions, DescribeConfig())
    wanted = plan.wanted(items, kept).first()
    assert wanted is not None
    assert wanted["failed"] == len(SETTLED)


def test_pictures_inside_the_source_are_read_once_for_all_slices(
    spark: SparkSession, names: TableNames
) -> None:
    table = testing.catalog(5, side=32)
    spark_table = names.qualified(replace(ITEMS, name="shop_items"))
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS {names.qualified_schema}")
    testing.to_frame(spark, table).write.format("delta").saveAsTable(spark_table)
    given = [f"sources.items.table={spark_table.replace('`', '')}", "describe.slice_rows=2"]
    given += ["describe.engine.kind=fake", "describe.attributes=fashion"]
    context = RunContext(spark, load_config(None, given), names, "run")
    catalog_job.run(context)
    counts = run(context).counts
    assert (counts["described"], counts["failed"]) == (5, 0)
    contents = delta.read(spark, QUEUE, names).select("contents").collect()
    stored = {bytes(content) for row in contents for content in row["contents"]}
    assert stored == set(table["image"].to_pylist())

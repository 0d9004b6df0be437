"""A describe stage that fails, stands still, costs too much or lost its lease."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.describe_shop import Shop
from tests.loopback import Answering, Loopback
from vlm4rec_spark import delta
from vlm4rec_spark.descriptions import job, slices_job
from vlm4rec_spark.descriptions.job import run
from vlm4rec_spark.descriptions.slices_job import AT_A_TIME
from vlm4rec_spark.errors import BusyError, FailureRateError
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG, RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext, RunReport

pytestmark = [pytest.mark.spark, pytest.mark.delta]


@pytest.fixture(scope="module")
def trouble(
    spark: SparkSession, shared_names: TableNames, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Return a shop of eight items; each test has a `max_tokens` of its own, so all are pending."""
    names = replace(shared_names, schema=f"{shared_names.schema}_trouble")
    shop = Shop(spark, names, tmp_path_factory.mktemp("trouble"))
    shop.show(**{f"i{n}": n for n in range(8)})
    yield shop
    spark.sql(f"DROP SCHEMA {names.qualified_schema} CASCADE")


# Without a budget the slices are by hash: some have two, some none.
A_REQUEST_A_SLICE = ("describe.slice_rows=1", "describe.max_requests=8")


def landed(context: RunContext) -> list[Any]:
    """Return the rows of the log that a run wrote."""
    log = delta.read(context.spark, DESCRIPTIONS_LOG, context.names)
    return log.where(log["run_id"] == context.run_id).collect()


def test_where_all_fails_later_slices_are_not_sent_and_the_run_s_row_says_why(
    trouble: Shop,
) -> None:
    context = trouble.context(
        *("describe.engine.max_tokens=101", *A_REQUEST_A_SLICE),
        *("describe.engine.fault_rate=1", "describe.min_rows_for_failure_rate=1"),
    )
    with pytest.raises(FailureRateError):
        run(context)
    rows = landed(context)
    assert 1 <= len(rows) <= AT_A_TIME
    runs = delta.read(context.spark, RUNS, context.names)
    (left,) = runs.where(runs["run_id"] == context.run_id).collect()
    assert left["bottleneck"].startswith("failed: ")
    assert any(f" x {row['stage']}/{row['error_code']}" in left["bottleneck"] for row in rows)
    assert (left["counts"]["described"], left["counts"]["failed"] >= 1) == (0, True)


def test_a_run_whose_lease_was_lost_sends_and_merges_nothing_more(trouble: Shop) -> None:
    answers = iter([True, True, True])  # two slices are sent, the first to end is merged

    def check_lease() -> None:
        if not next(answers, False):
            raise BusyError("another run took its place")

    given = ("describe.engine.max_tokens=102", *A_REQUEST_A_SLICE)
    context = replace(trouble.context(*given), check_lease=check_lease)
    with pytest.raises(BusyError, match="took its place"):
        run(context)
    # What was under way is paid for, and kept; the next run puts it in force.
    assert (len(landed(context)), len(trouble.rows())) == (2, 1)


def test_under_a_limit_of_cost_a_small_first_slice_tells_the_price(
    trouble: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PRICED_ROWS", 3)
    given = ("describe.engine.max_tokens=103", "describe.cost.output_per_million=1000000")
    capped = trouble.describe(*given, "describe.cost.max_cost=1")
    assert capped.of("requests", "left") == (3, 5)
    rest = trouble.describe(*given, "describe.cost.max_cost=1000000")
    assert rest.of("requests", "left") == (5, 0)


def test_a_run_tells_on_though_nothing_moves_and_though_its_row_cannot_be_written(
    trouble: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    noted: list[RunReport] = []

    def conflict(_: RunContext, report: RunReport) -> None:
        noted.append(report)
        raise RuntimeError("[DELTA_CONCURRENT_APPEND] another job wrote into `runs`")

    monkeypatch.setattr(slices_job, "record", conflict)
    caplog.set_level("INFO", slices_job.__name__)
    # Each answer takes a second and a half at least.
    slow = ("describe.engine.max_tokens=104", "describe.engine.latency_ms=3000")
    assert trouble.describe(*slow, "run.progress_s=0.05").of("described", "left") == (8, 0)
    ours = [record for record in caplog.records if record.name == slices_job.__name__]
    told = [record.getMessage() for record in ours]
    assert sum(line.startswith("0% described (0 requests") for line in told) > 1
    assert told[-1].startswith("100% described (8 requests")
    assert any("DELTA_CONCURRENT_APPEND" in line for line in told)
    assert {(report.stage, report.bottleneck) for report in noted} == {("describe", "under way")}
    assert (noted[0].figures["share_done"], noted[0].counts["described"]) == (0, 0)


@pytest.fixture
def shop(spark: SparkSession, names: TableNames, tmp_path: Path) -> Shop:
    return Shop(spark, names, tmp_path)


def test_too_many_failures_fail_the_run_after_the_commit(shop: Shop) -> None:
    shop.show(**{f"i{n}": n for n in range(8)})
    settings = (
        "describe.engine.fault_rate=0.6",
        "describe.min_rows_for_failure_rate=1",
        "describe.engine.seed=5",
    )
    with pytest.raises(FailureRateError, match="for example"):
        shop.describe(*settings)
    statuses = {row["status"] for row in shop.rows().values()}
    assert statuses == {"ok", "error"}


def test_a_slice_ends_when_the_run_would_fail_even_if_all_else_went_well(shop: Shop) -> None:
    shop.show(**{f"i{n}": n for n in range(60)})
    context = shop.context(
        *("describe.engine.fault_rate=0.5", "describe.min_rows_for_failure_rate=50"),
        *("describe.engine.latency_ms=1000", "describe.engine.max_num_seqs=2"),
        *("describe.tasks=1", "run.progress_s=0.1"),
    )
    with pytest.raises(FailureRateError):
        run(context)
    assert 4 <= len(landed(context)) < 60


class Echoing(Answering):
    """An endpoint that refuses everybody, and repeats the key it was shown."""

    keys: ClassVar[list[str]] = []

    def answer(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.keys.append(self.headers["Authorization"])
        told = json.dumps({"error": {"message": f"not a key of ours: {self.keys[-1]}"}})
        self.reply(401, told.encode())


def test_a_key_that_an_endpoint_echoes_is_in_no_table_and_no_log(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shop.show(a=1, b=2)
    with Loopback(Echoing) as server:
        context = shop.context(
            *("describe.engine.kind=endpoint", f"describe.engine.urls=[{server.address}]"),
            "describe.engine.api_key_env=VLM4REC_TEST_KEY",
        )
        with pytest.raises(FailureRateError, match="None of 2 requests was answered"):
            run(context)
    key = os.environ["VLM4REC_TEST_KEY"]
    assert Echoing.keys == [f"Bearer {key}"] * 2
    told = {row["error_message"] for row in shop.rows().values()}
    assert told == {"HTTP 401: not a key of ours: Bearer ***"}
    assert caplog.records
    assert key not in caplog.text
    for table in (DESCRIPTIONS, DESCRIPTIONS_LOG, RUNS):
        rows = delta.read(shop.spark, table, shop.names).collect()
        assert rows, table.name
        assert key not in str(rows)

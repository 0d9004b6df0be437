"""A job runs once at a time; a dead run's lease is taken over."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vlm4rec_spark import delta, lease
from vlm4rec_spark.errors import BusyError
from vlm4rec_spark.lease import Lease
from vlm4rec_spark.pipeline import Pipeline
from vlm4rec_spark.tables import LEASES

if TYPE_CHECKING:
    from vlm4rec_spark.runs import RunContext

pytestmark = [pytest.mark.spark, pytest.mark.delta]


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.3)
    monkeypatch.setattr(lease, "POLL_S", 1.0)


def holders(context: RunContext) -> list[str | None]:
    rows = delta.read(context.spark, LEASES, context.names).collect()
    return [row["holder"] for row in rows]


def test_a_second_run_is_told_who_is_at_work_and_may_run_afterwards(context: RunContext) -> None:
    other = replace(context, run_id="another")
    with Lease(context, "job").held():
        assert holders(context) == ["test-run"]
        with pytest.raises(BusyError, match="Run test-run of job"), Lease(other, "job").held():
            pass
        assert holders(context) == ["test-run"]
    with Lease(other, "job").held():
        assert holders(context) == ["another"]
    assert holders(context) == [None]


def test_the_lease_of_a_run_that_was_killed_is_taken_over_at_once(context: RunContext) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    dead = Lease(replace(context, run_id="dead"), "job")
    dead._process = dead._process.split()[0] + f" {gone.stdout.strip()} 1"
    dead._take()
    with Lease(context, "job").held():
        assert holders(context) == ["test-run"]


def test_a_catalog_run_beside_another_is_told_who_is_at_work(context: RunContext) -> None:
    second = Pipeline(context.spark, context.config)
    is_told = pytest.raises(BusyError, match=r"Run test-run of catalog_job .* Run this job again")
    with Lease(context, "catalog_job").held(), is_told:
        second.catalog()


def test_a_run_that_stood_still_until_another_took_its_place_is_told_so(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 1e6)
    with Lease(context, "job").held() as mine:
        mine.check_lease()
        monkeypatch.setattr(lease, "STALE_S", -1.0)
        other = Lease(replace(context, run_id="another"), "job")
        other._process = "elsewhere 1 1"
        other._take()
        with pytest.raises(BusyError, match=r"Run test-run of job stops.* Run another of job"):
            mine.check_lease()
    assert holders(context) == ["another"]


def test_under_a_lost_lease_no_stage_starts(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: Lease) -> None:
        raise BusyError("another run took its place")

    monkeypatch.setattr(Lease, "_check_held", lost)
    with pytest.raises(BusyError, match="took its place"):
        Pipeline(context.spark, context.config).catalog()


def test_of_two_that_start_together_one_works(context: RunContext) -> None:
    with Lease(context, "job").held():
        pass

    def attempt(number: int) -> str:
        mine = Lease(replace(context, run_id=f"run-{number}"), "job")
        mine._process = f"host-{number} 1 1"
        try:
            with mine.held():
                together.wait(timeout=60)
        except BusyError:
            together.wait(timeout=60)
            return "busy"
        return "worked"

    together = threading.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(attempt, range(2))) == ["busy", "worked"]

"""The describe stage on Spark and Delta, with the fake engine."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.describe_shop import Run, Shop
from tests.loopback import Answering, Loopback
from vlm4rec_spark import delta, testing
from vlm4rec_spark.catalog import job as catalog_job
from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions import job, plan, slices_job
from vlm4rec_spark.descriptions.duplicates import followers
from vlm4rec_spark.descriptions.job import estimate_stage, run
from vlm4rec_spark.descriptions.plan import QUEUE
from vlm4rec_spark.descriptions.slices_job import AT_A_TIME
from vlm4rec_spark.errors import BusyError, FailureRateError
from vlm4rec_spark.runs import RunContext, RunReport, record
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG, ITEMS, RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    found = plan.pending(items, descriptions, log).collect()
    attempts = {row["request_key"]: row["attempt"] for row in found}
    assert attempts == {**dict.fromkeys((*SENT_AGAIN, "copied"), 3), "new": 1}


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


def test_a_full_run_takes_what_the_estimate_of_a_sample_said(shop: Shop) -> None:
    shop.hashes = dict.fromkeys(("k", "l", "m"), 7)
    shop.show(**{item: n for n, item in enumerate("abcdefghijklm")})
    # A token costs 1, so that few rows give figures that can be read.
    prices = ("describe.cost.input_per_million=1000000", "describe.cost.output_per_million=1000000")
    settings = ("describe.near_duplicates=0", *prices)
    lines = estimate_stage(shop.context(*settings), 6)
    pending, whole = (Told(lines, name) for name in ("Still pending", "The whole catalogue"))
    assert "pictures/s" in lines[0]
    assert (pending.requests, whole.requests) == (5, 11)  # k and l have the words of m

    full = run(shop.context(*settings))
    assert full.counts["requests"] == 5
    log = delta.read(shop.spark, DESCRIPTIONS_LOG, shop.names).collect()
    assert len({row["request_key"] for row in log}) == len(log) == 13
    every = [sum(row[name] or 0 for row in log) for name in ("tokens_in", "tokens_out")]
    rest = [full.counts[name] for name in ("tokens_in", "tokens_out")]
    for told, tokens, cost in ((pending, rest, full.figures["cost"]), (whole, every, sum(every))):
        for name, n in zip(("million tokens in", "million tokens out"), tokens, strict=True):
            low, high = told.interval(name)
            assert round(low - 0.001, 3) <= n / 1e6 <= round(high + 0.001, 3)
        low, high = told.interval("cost")
        assert low - 0.01 <= cost <= high + 0.01
        assert high < 1.2 * low


class Told:
    """One of the parts an estimate prints, read as people read it."""

    def __init__(self, lines: list[str], name: str) -> None:
        (heading,) = (n for n, line in enumerate(lines) if line.startswith(name))
        self.requests = int(lines[heading].split(": ")[1].split()[0].replace(",", ""))
        self.lines = lines[heading + 1 : heading + 6]

    def interval(self, label: str) -> tuple[float, float]:
        """Return the lowest and the highest that a figure may be."""
        (line,) = (line for line in self.lines if line.strip().startswith(label))
        low, high = line.partition("(")[2].rstrip(")").replace(",", "").split(" to ")
        return float(low), float(high)


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
        record(context, run(context))
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


@dataclass(frozen=True)
class Alike:
    """Runs of the stage on one shop with pictures that are nearly the same."""

    first: Run
    """The newest leads: c takes b along, which is 2 bits away, but not a, which is 3 away.

    The picture of leader, whom follower waits for, is missing; the hash of unknown is not known.
    """
    mended: Run
    """The picture of leader is there again."""
    nothing_new: Run
    commits: int
    """Of the run with nothing new."""
    one_more: Run
    """Item e, newer than d, has a picture with its hash."""
    switched_off: Run


@pytest.fixture(scope="module")
def alike(
    spark: SparkSession, shared_names: TableNames, tmp_path_factory: pytest.TempPathFactory
) -> Alike:
    names = replace(shared_names, schema=f"{shared_names.schema}_alike")
    shop = Shop(spark, names, tmp_path_factory.mktemp("alike"))
    shop.hashes = {"a": 0, "b": 0b1, "c": 0b111, "d": 0xFF << 56}
    shop.hashes |= dict.fromkeys(("follower", "leader"), 0xFFFF << 24)
    seeds = {"a": 1, "b": 2, "c": 3, "d": 4, "unknown": 5, "follower": 6, "leader": 7}
    shop.show(**seeds)
    shop.break_picture("leader")
    first = shop.describe("describe.near_duplicates=2")
    shop.mend_picture("leader")
    mended = shop.describe("describe.near_duplicates=2")
    before = sum(shop.versions())
    nothing_new = shop.describe("describe.near_duplicates=2")
    commits = sum(shop.versions()) - before
    shop.hashes["e"] = 0xFF << 56
    shop.show(**seeds, e=8)
    one_more = shop.describe("describe.near_duplicates=0")
    switched_off = shop.describe()
    spark.sql(f"DROP SCHEMA {names.qualified_schema} CASCADE")
    return Alike(first, mended, nothing_new, commits, one_more, switched_off)


def test_near_duplicates_are_described_once_and_say_whose_words_they_have(alike: Alike) -> None:
    assert alike.first.of("wanted", "described", "copied") == (7, 4, 1)
    rows = alike.first.rows
    assert rows["b"]["copied_from"] == rows["c"]["request_key"]
    assert rows["b"]["description"] == rows["c"]["description"]
    assert rows["b"]["picture_hashes"] != rows["c"]["picture_hashes"]
    assert [rows[i]["copied_from"] for i in "acd"] == [None, None, None]

    assert alike.nothing_new.of("reused", "requests", "copied") == (7, 0, 0)
    assert alike.commits == 0

    # What is described leads, even over a newer item.
    assert alike.one_more.of("requests", "copied") == (0, 1)
    assert alike.one_more.rows["e"]["copied_from"] == rows["d"]["request_key"]

    # Switched off, each gets words of its own.
    assert alike.switched_off.of("reused", "requests") == (5, 3)
    assert {row["copied_from"] for row in alike.switched_off.rows.values()} == {None}


def test_a_follower_waits_for_its_leader_and_unknown_hashes_are_sent(alike: Alike) -> None:
    assert alike.first.of("requests", "failed", "left") == (4, 1, 1)
    assert sorted(alike.first.rows) == ["a", "b", "c", "d", "leader", "unknown"]
    assert alike.first.rows["leader"]["status"] == "error"
    assert alike.first.rows["unknown"]["copied_from"] is None
    assert alike.mended.of("described", "copied", "left") == (1, 1, 0)
    rows = alike.mended.rows
    assert rows["follower"]["copied_from"] == rows["leader"]["request_key"]


@pytest.mark.parametrize("bits", [0, 3])
def test_followers_are_those_that_comparing_all_pairs_finds(spark: SparkSession, bits: int) -> None:
    rng = np.random.default_rng(bits)
    centres = rng.integers(-(2**63), 2**63, 6)
    rows = []
    for n in range(80):
        flipped = rng.choice(64, int(rng.integers(0, 4)), replace=False)
        picture = int(rng.choice(centres)) ^ sum(
            -(2**63) if bit == 63 else 2 ** int(bit) for bit in flipped
        )
        is_new = bool(rng.random() < 0.8)
        asked = "xy"[int(rng.integers(2))]
        rows.append((f"k{n:02d}", asked, [picture, 7], is_new, int(rng.integers(3))))
    ddl = "request_key STRING, asked STRING, hashes ARRAY<BIGINT>, is_new BOOLEAN, age BIGINT"
    found = followers(spark.createDataFrame(rows, ddl), bits).collect()
    assert {(r["request_key"], r["leader"]) for r in found} == by_all_pairs(rows, bits)


def by_all_pairs(rows: list[tuple[str, str, list[int], bool, int]], bits: int) -> set[Any]:
    """Return (follower, leader) by the definition; equal pictures are one to begin with."""
    groups: dict[Any, list[Any]] = {}
    for key, asked, hashes, is_new, age in rows:
        groups.setdefault((asked, tuple(hashes)), []).append((is_new, age, key))
    heads = {group: min(members) for group, members in groups.items()}

    def is_near(a: Any, b: Any) -> bool:
        pairs = zip(a[1], b[1], strict=True)
        return a[0] == b[0] and all(((x ^ y) & (2**64 - 1)).bit_count() <= bits for x, y in pairs)

    def before(group: Any) -> list[Any]:
        earlier = (g for g in groups if heads[g] < heads[group] and is_near(g, group))
        return list(earlier) if heads[group][0] else []

    pairs = set()
    for group, members in groups.items():
        leading = [heads[g] for g in before(group) if not before(g)]
        leader = min(leading, default=heads[group])[2]
        pairs |= {(key, leader) for is_new, _, key in members if is_new and key != leader}
    return pairs

"""Publishing into a real PostgreSQL and as files: whole runs only, and on again after a crash."""

from __future__ import annotations

import gzip
import json
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.postgres import PASSWORD
from vlm4rec_spark import delta
from vlm4rec_spark.config import load_config
from vlm4rec_spark.delta import TableNames
from vlm4rec_spark.errors import ConfigError, PublishError
from vlm4rec_spark.preview.shop import Shop
from vlm4rec_spark.preview.volume import newest_copy
from vlm4rec_spark.publish import job
from vlm4rec_spark.runs import RunContext, record
from vlm4rec_spark.tables import (
    COMPLEMENTS,
    DESCRIPTIONS,
    ITEMS,
    RECOMMENDATIONS,
    RUNS,
    SIMILAR_ITEMS,
    TableSpec,
)
from vlm4rec_spark.testing import unit_vectors
from vlm4rec_spark.topk.snapshot_files import write_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

    from tests.postgres import Postgres
    from vlm4rec_spark.publish.published import PublishedTable

pytestmark = pytest.mark.spark
NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
USERS, LENGTH = 40, 5
THREE_SLICES = "publish.postgres.slices=3"
LISTS = "SELECT user_id, rank, item_id FROM vlm4rec.recommendations ORDER BY user_id, rank"


@pytest.fixture
def shop(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    monkeypatch.setenv("SHOP_DB_PASSWORD", PASSWORD)
    yield postgres
    postgres.run("DROP SCHEMA IF EXISTS vlm4rec CASCADE")


def write(spark: SparkSession, names: TableNames, spec: TableSpec, rows: list[dict]) -> None:  # type: ignore[type-arg]
    table = pa.Table.from_pylist(rows, schema=spec.arrow_schema())
    delta.replace_where(spark.createDataFrame(table), spec, names, "TRUE")


def fill(spark: SparkSession, names: TableNames, shift: int = 0, users: int = USERS) -> None:
    """Write lists whose items all carry the same shift: half a run would mix two of them."""
    lists = [
        {
            "user_id": f"u{user:02d}", "rank": rank, "item_id": f"i{shift}-{rank}",
            "score": 1 / rank, "reason": "Because it's \"red\"",
            "shared_attributes": ["red", "it's"], "arm": "profile", "run_id": f"run-{shift}",
        }
        for user in range(users)
        for rank in range(1, LENGTH + 1)
    ]  # fmt: skip
    write(spark, names, RECOMMENDATIONS, lists)


def fill_catalogue(spark: SparkSession, names: TableNames) -> None:
    """Write a neighbour, and two items of which one is described."""
    similar = {"target_item_id": "a", "rank": 1, "item_id": "b", "score": 0.5, "run_id": "r"}
    write(spark, names, SIMILAR_ITEMS, [similar])
    write(spark, names, COMPLEMENTS, [{**similar, "slot": "shoes", "reason": "Adds shoes."}])
    item = {"item_id": "a", "title": "'; DROP TABLE x --", "available": True, "request_key": "k",
            "first_seen": NOW, "updated_at": NOW}  # fmt: skip
    write(spark, names, ITEMS, [item, {**item, "item_id": "b", "request_key": None}])
    seen = [("colour", {"value": "red", "confidence": 0.9}), ("cut", {"value": None}),
            ("fit", {"value": "slim", "confidence": 0.3})]  # fmt: skip
    described = {"request_key": "k", "status": "ok", "description": "Red.", "attributes": seen,
                 "model": "m@1", "described_at": NOW}  # fmt: skip
    write(spark, names, DESCRIPTIONS, [described])


def context_for(
    spark: SparkSession, names: TableNames, shop: Postgres | None, *settings: str, run: str = "r1"
) -> RunContext:
    where = shop and [
        f"publish.postgres.url={shop.jdbc_url}",
        "publish.postgres.user=shop",
        "publish.postgres.password='${env:SHOP_DB_PASSWORD}'",
        "publish.postgres.slices=1",
        "publish.tables=[recommendations]",
    ]
    config = load_config(None, [*(where or []), *settings])
    return RunContext(spark, config, names, run)


def test_lists_neighbours_and_attributes_arrive_and_a_rerun_changes_nothing(
    spark: SparkSession, names: TableNames, shop: Postgres
) -> None:
    fill(spark, names)
    fill_catalogue(spark, names)
    tables = (
        "publish.tables=[recommendations,similar_items,complements,item_attributes,item_features]"
    )
    sure = "describe.min_confidence=0.5"
    report = job.run(context_for(spark, names, shop, tables, sure))
    assert report.counts["recommendations_changed"] == USERS * LENGTH
    assert len(shop.rows(LISTS)) == USERS * LENGTH
    assert shop.rows(
        "SELECT reason, shared_attributes FROM vlm4rec.recommendations LIMIT 1"
    ) == [('Because it\'s "red"', ["red", "it's"])]  # fmt: skip
    told = "SELECT title, description, attributes FROM vlm4rec.item_attributes WHERE item_id='a'"
    assert shop.rows(told) == [
        ("'; DROP TABLE x --", "Red.", {"colour": {"value": "red", "confidence": 0.9}})
    ]
    assert shop.rows("SELECT feature, value, event_timestamp FROM vlm4rec.item_features") == [
        ("colour", "red", NOW)
    ]
    assert shop.rows("SELECT item_id, slot FROM vlm4rec.complements") == [("b", "shoes")]
    again = job.run(context_for(spark, names, shop, tables, sure, run="r2"))
    assert {name: n for name, n in again.counts.items() if n} == {}
    assert shop.rows("SELECT count(DISTINCT run_id) FROM vlm4rec.publications") == [(1,)]
    features = "publish.tables=[item_features]"
    unsure = job.run(context_for(spark, names, shop, features, run="r3"))
    assert unsure.counts["item_features_changed"] == 1
    assert shop.rows("SELECT feature FROM vlm4rec.item_features ORDER BY 1") == [
        ("colour",), ("fit",)
    ]  # fmt: skip


def test_readers_see_the_run_before_or_this_one_but_never_a_mixture(
    spark: SparkSession, names: TableNames, shop: Postgres
) -> None:
    fill(spark, names, shift=0)
    job.run(context_for(spark, names, shop, THREE_SLICES))
    seen: set[tuple[str, ...]] = set()
    stop = threading.Event()

    def read() -> None:
        with shop.connect() as connection:
            while not stop.is_set():
                rows = connection.execute(LISTS).fetchall()
                seen.add((str(len(rows)), *sorted({row[2].split("-")[0] for row in rows})))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for shift in (1, 2):
            fill(spark, names, shift=shift, users=USERS - shift)
            job.run(context_for(spark, names, shop, THREE_SLICES, run=f"r{shift}"))
    finally:
        stop.set()
        reader.join()
    whole = {(str((USERS - shift) * LENGTH), f"i{shift}") for shift in (0, 1, 2)}
    assert seen <= whole
    assert {("200", "i0"), ("190", "i2")} <= seen | {("190", "i2")}
    assert len(shop.rows(LISTS)) == 190


def test_a_run_that_died_goes_on_behind_its_last_slice_while_readers_keep_the_old_lists(
    spark: SparkSession, names: TableNames, shop: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(spark, names, shift=0)
    job.run(context_for(spark, names, shop, THREE_SLICES))
    before = shop.rows(LISTS)
    fill(spark, names, shift=1)
    written: list[int] = []
    original = job._write_slice

    def dies_in_the_third(context: RunContext, table: PublishedTable, rows: DataFrame) -> None:
        original(context, table, rows)  # the rows are there, but nobody noted that they are
        written.append(len(written))
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(job, "_write_slice", dies_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        job.run(context_for(spark, names, shop, THREE_SLICES, run="r2"))
    assert shop.rows(LISTS) == before
    monkeypatch.setattr(job, "_write_slice", original)
    report = job.run(context_for(spark, names, shop, THREE_SLICES, run="r2"))
    assert report.counts["slices_reused"] == 2
    assert report.counts["recommendations_changed"] == USERS * LENGTH
    assert {row[2].split("-")[0] for row in shop.rows(LISTS)} == {"i1"}
    assert shop.rows("SELECT count(*) FROM vlm4rec.staging_recommendations") == [(0,)]


def test_slices_of_an_older_state_are_not_mixed_with_newer_ones(
    spark: SparkSession, names: TableNames, shop: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(spark, names, shift=0)
    with monkeypatch.context() as patch:
        patch.setattr(job, "_check_size", lambda *_: (_ for _ in ()).throw(PublishError("stop")))
        with pytest.raises(PublishError, match="stop"):
            job.run(context_for(spark, names, shop, THREE_SLICES))
    fill(spark, names, shift=1)
    report = job.run(context_for(spark, names, shop, THREE_SLICES))
    assert report.counts["slices_reused"] == 0
    assert {row[2].split("-")[0] for row in shop.rows(LISTS)} == {"i1"}


def test_a_table_that_would_shrink_too_much_is_not_published(
    spark: SparkSession, names: TableNames, shop: Postgres
) -> None:
    fill(spark, names)
    job.run(context_for(spark, names, shop))
    fill(spark, names, users=3)
    with pytest.raises(PublishError, match="from 200 to 15 rows"):
        job.run(context_for(spark, names, shop, run="r2"))
    assert len(shop.rows(LISTS)) == USERS * LENGTH


def test_one_publication_at_a_time(spark: SparkSession, names: TableNames, shop: Postgres) -> None:
    fill(spark, names)
    with shop.connect() as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (0x766C6D3472656300,))
        with pytest.raises(PublishError, match="Another publication"):
            job.run(context_for(spark, names, shop))


def test_a_database_that_refuses_is_told_without_the_password(
    spark: SparkSession, names: TableNames, shop: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DB_PASSWORD", "not-the-password-99")
    with pytest.raises(
        PublishError, match=r"PostgreSQL refused: .*authentication failed"
    ) as caught:
        job.run(context_for(spark, names, shop))
    assert "not-the-password-99" not in repr(caught.value) + repr(caught.value.__cause__)
    assert PASSWORD not in json.dumps(context_for(spark, names, shop).config.public())


def test_the_password_is_in_no_table_no_file_no_answer_and_no_log(
    spark: SparkSession,
    names: TableNames,
    shop: Postgres,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = TableNames(None, names.schema, str(tmp_path / "tables"))
    fill(spark, here)
    context = context_for(spark, here, shop, f"publish.files.folder={tmp_path}/out")
    with caplog.at_level("DEBUG", "vlm4rec_spark"):
        report = job.run(context)
        record(context, report)
    rows = [delta.read(spark, spec, here).collect() for spec in (RUNS, RECOMMENDATIONS)]
    published = shop.rows("SELECT * FROM vlm4rec.publications")
    told = [str(rows), str(published), caplog.text, repr(report), context.config.content_hash()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > len(told)
    assert all(rows)
    assert published
    assert [text for text in told if PASSWORD in text] == []
    assert [path for path in files if PASSWORD.encode() in _plain(path)] == []


def _plain(path: Path) -> bytes:
    """Return the bytes of a file, unpacked where they are packed."""
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist()).encode()
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_files_appear_whole_and_the_newest_is_named(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    fill(spark, names)
    settings = (
        f"publish.files.folder={tmp_path}/out",
        "publish.files.formats=[parquet,jsonl]",
        "publish.tables=[recommendations]",
    )
    for run in ("r1", "r2", "r3"):
        job.run(context_for(spark, names, None, *settings, run=run))
    latest = json.loads((tmp_path / "out/latest.json").read_text())
    assert latest["run"] == "run-r3"
    assert sorted(p.name for p in (tmp_path / "out").glob("run-*")) == ["run-r2", "run-r3"]
    place = tmp_path / "out" / latest["run"] / latest["tables"]["recommendations"]["parquet"]
    assert pq.read_table(place).num_rows == USERS * LENGTH
    lines = [
        json.loads(line)
        for file in (tmp_path / "out/run-r3/recommendations.jsonl").glob("*.json.gz")
        for line in gzip.decompress(file.read_bytes()).splitlines()
    ]
    assert len(lines) == USERS
    assert [entry["rank"] for entry in lines[0]["items"]] == [1, 2, 3, 4, 5]


def test_the_copy_for_the_preview_holds_what_its_pages_show(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    fill(spark, names)
    fill_catalogue(spark, names)
    items = pa.table({"item_id": ["a", "b"], "available": [True, True]})
    write_snapshot(tmp_path / "index/snapshot-1", items, unit_vectors(2, 4), "demo@1")
    settings = (f"publish.files.folder={tmp_path}/out", "publish.files.preview=true",
                f"topk.index_path={tmp_path}/index")  # fmt: skip
    context = context_for(spark, names, None, *settings)
    job.run(context)
    shop = Shop(context.config, newest_copy(f"{tmp_path}/out"))
    assert shop.items(["a"])["a"].description == "Red."
    assert [w.value for w in shop.items(["a"])["a"].attributes] == ["red", None, "slim"]
    assert [place.rank for place in shop.listed("u00")] == [1, 2, 3, 4, 5]
    assert list(shop.matrix().names) == ["a", "b"]
    assert shop.spaces() == []


def test_a_dry_run_counts_and_writes_nothing(
    spark: SparkSession, names: TableNames, shop: Postgres, tmp_path: Path
) -> None:
    fill(spark, names)
    context = context_for(spark, names, shop, f"publish.files.folder={tmp_path}/out")
    assert job.run(context, dry_run=True).counts["recommendations_rows"] == USERS * LENGTH
    assert shop.rows("SELECT to_regclass('vlm4rec.recommendations')") == [(None,)]
    assert not (tmp_path / "out").exists()


def test_without_a_place_the_settings_are_named(spark: SparkSession, names: TableNames) -> None:
    with pytest.raises(ConfigError, match=r"publish\.postgres\.url, publish\.files\.folder"):
        job.run(context_for(spark, names, None))


def test_a_password_in_the_configuration_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="never the password itself") as caught:
        load_config(None, ["publish.postgres.password=wonderful-horse-7"])
    assert PASSWORD not in str(caught.value)

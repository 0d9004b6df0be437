"""Upkeep, history, and forgetting a person."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from tests.shop_log import write_log
from vlm4rec_spark import delta
from vlm4rec_spark.config import load_config
from vlm4rec_spark.delta import TableNames
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.operations.forget import forget
from vlm4rec_spark.operations.history import history, told
from vlm4rec_spark.operations.maintain import prune_matrices, run
from vlm4rec_spark.runs import RunContext, RunReport, record
from vlm4rec_spark.tables import PROFILES, RECOMMENDATIONS, SEARCHES, TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

pytestmark = pytest.mark.delta
NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
MAGPIE = "magpie@example.org"
LISTED = {"rank": 1, "item_id": "i1", "score": 0.5, "arm": "profile", "run_id": "r"}


def write(
    spark: SparkSession, names: TableNames, spec: TableSpec, *rows: dict[str, object]
) -> None:
    table = pa.Table.from_pylist(list(rows), schema=spec.arrow_schema())
    delta.merge_on_key(spark, spark.createDataFrame(table), spec, names)


@pytest.fixture
def placed(spark: SparkSession, names: TableNames, tmp_path: Path) -> RunContext:
    """Two people's rows in tables whose folder we know, in working files and in an export."""
    located = TableNames(None, names.schema, str(tmp_path / "tables"))
    config = load_config(
        None,
        [
            f"topk.index_path={tmp_path}/index",
            f"publish.files.folder={tmp_path}/out",
            "sources.interactions.format=parquet",
            f"sources.interactions.path={tmp_path}/log",
        ],
    )
    people = [MAGPIE, "someone else"]
    profile = {"interest_no": 0, "vector": [1.0], "last_event_at": NOW}
    write(spark, located, PROFILES, *({**profile, "user_id": user} for user in people))
    found = {"rank": 1, "item_id": "i1", "score": 0.5, "run_id": "r"}
    write(spark, located, SEARCHES, *({**found, "query_id": user} for user in people))
    write(spark, located, RECOMMENDATIONS, *({**LISTED, "user_id": user} for user in people))
    # An older version of the table, whose file stays behind.
    write(spark, located, RECOMMENDATIONS, {**LISTED, "user_id": MAGPIE, "item_id": "i2"})
    lists = delta.read(spark, RECOMMENDATIONS, located)
    lists.write.parquet(f"{tmp_path}/index/landing/{names.schema}/recommendations")
    lists.write.parquet(f"{tmp_path}/out/run-1/recommendations.parquet")
    lists.select("user_id").write.json(f"{tmp_path}/out/run-2/recommendations.jsonl")
    profiles = delta.read(spark, PROFILES, located)
    profiles.write.parquet(f"{tmp_path}/out/run-3/preview/profiles")
    write_log(tmp_path / "log", [{"user_id": "someone else", "item_id": "i1", "timestamp": NOW}])
    return RunContext(spark, config, located, "r")


def mentions(folder: Path, text: str) -> list[str]:
    """Return the files below a folder that hold a text, the transaction log left out."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and "_delta_log" not in path.parts and text.encode() in path.read_bytes()
    ]


def test_a_forgotten_person_is_in_no_row_no_file_and_no_export(
    placed: RunContext, tmp_path: Path
) -> None:
    assert mentions(tmp_path, MAGPIE)
    counted = forget(placed, MAGPIE, dry_run=True)
    assert {p.name: p.before for p in counted}["table recommendations"] == 1
    assert all(p.before == p.after for p in counted)
    assert {p.name: p.before for p in counted}["table searches"] == 1
    places = forget(placed, MAGPIE, purge=True)
    assert all(p.is_clean for p in places), places
    exports = {f"export run-{n}" for n in (1, 2, 3)}
    assert {"working files", *exports} <= {p.name for p in places}
    assert mentions(tmp_path, MAGPIE) == []
    spark, names = placed.spark, placed.names
    assert [r["user_id"] for r in delta.read(spark, PROFILES, names).collect()] == ["someone else"]
    # The commit of the DELETE names the person by a hash only.
    commits = (tmp_path / "tables" / names.schema / "recommendations/_delta_log").glob("*.json")
    deletes = [t for t in (p.read_text() for p in commits) if '"operation":"DELETE"' in t]
    assert deletes
    assert not any(f'"predicate":"[\\"(user_id = {MAGPIE}' in text for text in deletes)
    assert all("sha2" in text.lower() for text in deletes)


def test_without_purge_old_files_are_told_and_a_log_that_still_has_the_person_is_named(
    placed: RunContext,
) -> None:
    places = {p.name: p for p in forget(placed, MAGPIE)}
    assert places["table recommendations"].is_clean
    assert "after 7 days" in places["files of recommendations"].note
    others = {p.name: p for p in forget(placed, "someone else")}
    assert others["your interaction log"].after == 1
    assert "next run brings the person back" in others["your interaction log"].note


def test_maintain_compacts_keeps_a_week_and_finds_repeated_keys(
    placed: RunContext,
) -> None:
    spark, names = placed.spark, placed.names
    row = {**LISTED, "user_id": "twice"}
    frame = spark.createDataFrame(
        pa.Table.from_pylist([row, row], schema=RECOMMENDATIONS.arrow_schema())
    )
    delta.append_once(frame, RECOMMENDATIONS, names, "t", 1)
    looked = run(placed, dry_run=True)
    assert looked.counts["files_compacted"] == 0
    report = run(placed)
    assert report.counts["recommendations_duplicate_keys"] == 1
    assert report.counts["files_compacted"] > 1
    assert report.counts["files_deleted"] == 0, "nothing is a week old"
    assert report.counts["migrations_pending"] == 0
    assert delta.read(spark, RECOMMENDATIONS, names).count() == 4
    with pytest.raises(ConfigError, match="168 or more"):
        run(placed, retention_hours=1)


def test_matrices_that_no_run_uses_are_deleted(tmp_path: Path) -> None:
    for age, name in enumerate(("snapshot-d", "snapshot-c", "snapshot-b", ".partial-new")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    (tmp_path / ".partial-old").mkdir()
    os.utime(tmp_path / ".partial-old", (0, 0))
    assert prune_matrices(tmp_path, dry_run=True) == 2
    assert prune_matrices(tmp_path) == 2
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".partial-new", "snapshot-c", "snapshot-d"]


def test_history_tells_the_newest_runs_and_marks_slow_ones(
    spark: SparkSession, names: TableNames
) -> None:
    config = load_config()
    for number, seconds in enumerate((10.0, 11.0, 50.0)):
        context = RunContext(spark, config, names, f"run-{number}")
        figures = {"audited_recall": 0.99, "cost": 1.5}
        record(context, RunReport("topk", {"failed": number}, figures, seconds, "search"))
    rows = history(context, 10)
    assert {row["usual_seconds"] for row in rows} == {11.0}
    lines = told(rows).splitlines()
    (slow,) = [line for line in lines if "run-2" in line]
    assert "50.0 !" in slow
    assert "0.9900" in slow
    assert "1.50" in slow
    assert len(history(context, 1, "topk")) == 1
    assert history(context, 5, "profiles") == []

"""The questions in SQL: every file runs over our tables and answers what it says."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from vlm4rec_spark import delta
from vlm4rec_spark.config import conf_folder
from vlm4rec_spark.tables import (
    ALL_TABLES,
    DESCRIPTIONS,
    DESCRIPTIONS_LOG,
    ENGINE_METRICS,
    ITEMS,
    RECOMMENDATIONS,
    RUNS,
    TableSpec,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

pytestmark = pytest.mark.spark
Rows = list[dict[str, Any]]
Answers = dict[str, Rows]
"""File -> its rows."""
SQL = conf_folder() / "sql"
FILES = sorted(path.relative_to(SQL).as_posix() for path in SQL.glob("*/*.sql"))
NOW = datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def answers(spark: SparkSession, shared_names: TableNames) -> tuple[Answers, Answers]:
    """Return what each file answers over empty tables, and what over a shop's."""
    for spec in ALL_TABLES:
        delta.create_table(spark, spec, shared_names)
    over_empty_tables = ask(spark, shared_names)
    fill(spark, shared_names)
    return over_empty_tables, ask(spark, shared_names)


def ask(spark: SparkSession, names: TableNames, min_confidence: str = "0.0") -> Answers:
    spark.sql(f"USE {names.qualified_schema}")
    try:
        return {
            file: [r.asDict() for r in spark.sql(text_of(file, min_confidence)).collect()]
            for file in FILES
        }
    finally:
        spark.sql("USE default")


def text_of(file: str, min_confidence: str) -> str:
    """Return a file with its threshold changed as a reader would."""
    text = (SQL / file).read_text("utf-8")
    return text.replace("0.0 AS min_confidence", f"{min_confidence} AS min_confidence")


def write(spark: SparkSession, names: TableNames, spec: TableSpec, *rows: dict[str, Any]) -> None:
    table = pa.Table.from_pylist(list(rows), schema=spec.arrow_schema())
    delta.merge_on_key(spark, spark.createDataFrame(table), spec, names)


def fill(spark: SparkSession, names: TableNames) -> None:
    """Write two red items and a blue one, one new and one gone, lists, samples, and bad runs.

    The model was not sure that the one which is gone is red.
    """
    items, answers = [], []
    for key, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        age = timedelta(days=1 if key == "c" else 200)
        item = {"item_id": key, "category": "Coats", "available": key != "b", "request_key": key,
                "first_seen": NOW - age, "updated_at": NOW}  # fmt: skip
        items.append(item)
        sure = {"value": colour, "confidence": 0.4 if key == "b" else 0.9}
        seen = [("colour", sure), ("fit", {"value": "slim"}), ("cut", {"value": None})]
        answer = {"request_key": key, "status": "ok", "description": "x", "attributes": seen,
                  "category": "Coats", "tokens_in": 100, "tokens_out": 10, "tokens_cached": 0,
                  "latency_ms": 500.0}  # fmt: skip
        answers.append(answer)
    write(spark, names, ITEMS, *items)
    write(spark, names, DESCRIPTIONS, *answers)
    write(spark, names, DESCRIPTIONS_LOG, *({**answer, "attempt": 1} for answer in answers))
    lists = [
        {"user_id": user, "rank": rank, "item_id": item, "score": 1.0, "arm": "profile"}
        for user, listed in (("u", "ab"), ("v", "bc"), ("w", "b"))
        for rank, item in enumerate(listed, start=1)
    ]
    write(spark, names, RECOMMENDATIONS, *lists)
    samples = [
        {"run_id": "r", "server": "gpu-0", "sampled_at": NOW + timedelta(seconds=after),
         "running": running, "waiting": 0.0, "prompt_tokens": tokens,
         "generated_tokens": 2 * tokens}
        for after, running, tokens in ((0, 4.0, 100.0), (10, 4.0, 400.0), (30, 0.0, 400.0),
                                       (40, 4.0, 10.0), (45, 4.0, 60.0), (50, 3.0, 80.0))
    ]  # fmt: skip
    write(spark, names, ENGINE_METRICS, *samples)
    good = [("audited_recall", 0.995)]
    made = [("list_rows", 5)]
    write(
        spark, names, RUNS,
        *(stage("topk", 24.0 * n, f"r{n}", figures=good, counts=made) for n in range(2, 8)),
        stage("topk", 1, "bad", figures=[("audited_recall", 0.9)], seconds=99.0),
        stage("describe", 1, "bad", counts=[("failed", 9), ("requests", 90)]),
    )  # fmt: skip


def stage(name: str, hours: float, run: str, **more: Any) -> dict[str, Any]:
    row = {"run_id": run, "stage": name, "started_at": NOW - timedelta(hours=hours),
           "seconds": 10.0, "counts": [], "figures": []}  # fmt: skip
    return {**row, **more}


def test_every_file_runs_over_empty_tables_and_only_the_lack_of_lists_is_an_alert(
    answers: tuple[Answers, Answers],
) -> None:
    assert {file: len(rows) for file, rows in answers[0].items()} == {
        file: 1 if file == "alerts/lists_out_of_date.sql" else 0 for file in FILES
    }


def test_merchandisers_get_their_answers(answers: tuple[Answers, Answers]) -> None:
    told = {Path(file).stem: rows for file, rows in answers[1].items()}
    shares = {(r["attribute"], r["value"]): float(r["share"]) for r in told["attributes_by_season"]}
    assert shares == {("colour", "red"): 1, ("colour", "blue"): 1, ("fit", "slim"): 1}
    gaps = [(g["first_word"], g["shoppers"], g["items"]) for g in told["gaps_in_the_range"]]
    assert gaps == [("colour=red", 3, 1), ("colour=blue", 1, 1)]
    exposure = {r["is_new"]: r for r in told["cold_items_exposure"]}
    assert (exposure[True]["items"], exposure[True]["listed_items"]) == (1, 1)
    (cost,) = told["cost_per_category"]
    assert (cost["tokens_in"], cost["tokens_out"], float(cost["model_seconds"])) == (300, 30, 1.5)


def test_merchandisers_may_leave_out_what_the_model_was_not_sure_of(
    spark: SparkSession, shared_names: TableNames, answers: tuple[Answers, Answers]
) -> None:
    told = {Path(file).stem: rows for file, rows in answers[1].items()}
    picky = {Path(f).stem: rows for f, rows in ask(spark, shared_names, "0.5").items()}

    def items(rows: Rows, value: str) -> int:
        return sum(r["items"] for r in rows if r["value"] == value)

    found = [told["attributes_by_season"], picky["attributes_by_season"]]
    assert [items(rows, "red") for rows in found] == [2, 1]
    assert [items(rows, "slim") for rows in found] == [3, 3], "without a confidence it counts"
    gaps = [(g["first_word"], g["shoppers"]) for g in picky["gaps_in_the_range"]]
    assert gaps == [("colour=blue", 1), ("colour=red", 1)]


def test_alerts_name_what_is_wrong(answers: tuple[Answers, Answers]) -> None:
    told = {Path(file).stem: rows for file, rows in answers[1].items()}
    assert [r["item_id"] for r in told["listed_but_unavailable"]] == ["b"]
    assert [r["run_id"] for r in told["failed_descriptions"]] == ["bad"]
    assert [r["run_id"] for r in told["recall_fell"]] == ["bad"]
    assert [r["stage"] for r in told["slow_stage"]] == ["topk"]
    assert len(told["lists_out_of_date"]) == 1, "the failed run made no lists"


def test_operators_see_how_fast_a_server_was_and_when_it_starved(
    answers: tuple[Answers, Answers],
) -> None:
    told = answers[1]["operations/model_servers.sql"]
    seen = [(float(r["tokens_per_s"]), float(r["starved_s"])) for r in told]
    # Nothing is said of the interval in which the server was started anew. At last a place was free
    # and nobody waited for it.
    assert seen == [(90, 0), (0, 20), (30, 0), (12, 5)]

"""Two runs compared: by what was said, by whose lists moved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.evaluation_shop import Row, write
from vlm4rec_spark import delta
from vlm4rec_spark.audit.diff_job import compare
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.runs import RunContext, RunReport, record
from vlm4rec_spark.tables import DESCRIPTIONS_LOG, RECOMMENDATIONS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

COLOURS = ("red", "navy", "red", "navy")


def answers(run_id: str, colours: tuple[str | None, ...], tokens: int) -> list[Row]:
    """Return one answer per picture."""
    return [
        {
            "request_key": f"{run_id}-{n}", "attempt": 1, "picture_hashes": [f"s{n}"],
            "category": "Dresses", "status": "ok", "description": "two words", "model": run_id,
            "prompt_version": "p1", "tokens_in": tokens, "tokens_out": 10, "run_id": run_id,
            "attributes": [("colour", {"value": colour, "confidence": None})],
        }
        for n, colour in enumerate(colours)
    ]  # fmt: skip


def lists(run_id: str, second: str) -> list[Row]:
    """Return two lists of two items; only that of user b changes."""
    places = (("a", 1, "i1"), ("a", 2, "i2"), ("b", 1, "i1"), ("b", 2, second))
    return [
        {"user_id": user, "rank": rank, "item_id": item, "score": 1.0, "arm": "profile",
         "run_id": run_id}
        for user, rank, item in places
    ]  # fmt: skip


def test_two_runs_are_compared_by_pictures_lists_and_tokens(
    spark: SparkSession, names: TableNames, context: RunContext
) -> None:
    for run_id, colours, tokens, item in (
        ("small", COLOURS, 100, "i3"), ("large", ("red", "navy", "red", None), 300, "i4"),
    ):  # fmt: skip
        started = time.monotonic()
        write(spark, names, DESCRIPTIONS_LOG, answers(run_id, colours, tokens))
        write(spark, names, RECOMMENDATIONS, lists(run_id, item))
        mine = RunContext(spark, context.config, names, run_id)
        record(mine, RunReport("topk", {}, {}, time.monotonic() - started, ""))
        time.sleep(1.5)  # the history of a table tells runs apart by time
    costs, agreements, examples, moves = compare(context, "small", "large")
    assert [row[5] for row in costs.rows] == ["100,000", "300,000"]
    assert agreements.rows == [("colour", "4", "75.0%", "37.5%", "0.60")]
    assert examples.rows == [("small-3", "colour", "navy", "not visible")]
    assert moves.rows == [("b", "50%")]
    assert "1 of 2 users have another list; 75.0% of the places stay" in moves.note
    assert delta.read(spark, RECOMMENDATIONS, names).count() == 4
    with pytest.raises(ConfigError, match=r"No run is called nobody; .* large, small"):
        compare(context, "small", "nobody")

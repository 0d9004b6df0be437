"""The row a stage leaves behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from vlm4rec_spark import delta
from vlm4rec_spark.runs import RunReport, record
from vlm4rec_spark.tables import RUNS

if TYPE_CHECKING:
    from vlm4rec_spark.runs import RunContext


def test_a_stage_leaves_one_row_with_versions_and_the_hash_of_its_configuration(
    context: RunContext,
) -> None:
    record(context, RunReport("topk", {"users": 3}, {"audited_recall": 1.0}, 2.5, "search"))
    record(context, RunReport("topk", {"users": 4}, {"audited_recall": 1.0}, 2.5, "search"))
    rows = delta.read(context.spark, RUNS, context.names).collect()
    assert len(rows) == 1
    assert rows[0]["counts"] == {"users": 4}
    assert rows[0]["config_hash"] == context.config.content_hash()
    assert rows[0]["versions"]["spark"] == context.spark.version


def test_rows_of_jobs_that_end_together_all_arrive(context: RunContext) -> None:
    delta.create_table(context.spark, RUNS, context.names)
    stages = {"catalog", "topk", "publish"}
    together = threading.Barrier(len(stages))

    def end(stage: str) -> None:
        together.wait(timeout=60)
        record(context, RunReport(stage))

    with ThreadPoolExecutor(len(stages)) as threads:
        list(threads.map(end, stages))
    rows = delta.read(context.spark, RUNS, context.names).collect()
    assert {row["stage"] for row in rows} == stages

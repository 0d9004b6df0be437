"""The evaluation: reads the log and the tables, writes `metrics`, `metrics_per_user`, a report."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.embeddings.encoders import encoder_spec
from vlm4rec_spark.errors import EvaluationError
from vlm4rec_spark.evaluation import plan
from vlm4rec_spark.evaluation.arms_job import Field, line_up
from vlm4rec_spark.evaluation.items_job import Stage, prepare
from vlm4rec_spark.evaluation.report import Evaluation, write_reports
from vlm4rec_spark.evaluation.results import Draws, Result, accuracy_results, other_results
from vlm4rec_spark.evaluation.spaces_job import write_spaces
from vlm4rec_spark.evaluation.stage_job import measure_lists, run_arms
from vlm4rec_spark.evaluation.tuning_job import Choice, tuned
from vlm4rec_spark.profiles.job import judged_events
from vlm4rec_spark.runs import RunReport
from vlm4rec_spark.tables import METRICS, METRICS_PER_USER
from vlm4rec_spark.topk.rule_checks import check_facets

if TYPE_CHECKING:
    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)


def run(context: RunContext) -> RunReport:
    """Compare all arms over the same users, candidates, masks and k, and write what came out.

    Raises:
        EvaluationError: the run has read its test already, nothing is left to test on, the
            baseline cannot run, or arms were measured over different users.
        ConfigError: an arm has a knob on an attribute that does not exist.
        SourceError: a source cannot be read.
    """
    started = time.monotonic()
    check_facets(context.config)
    _refuse_a_second_look(context)
    judged = judged_events(context)
    stage = prepare(context, judged, "test", context.config.evaluate.split.test_share)
    spaces = write_spaces(context, stage.catalogue)
    choice = tuned(stage, spaces)
    line = line_up(stage, spaces, choice)
    logger.info("run %s reads its test now, once", context.run_id)
    results = _tested(stage, line)
    _write(context, results)
    seconds = time.monotonic() - started
    folder = write_reports(_evaluation(stage, line, choice, results))
    logger.info("the report is %s", folder / "report.html")
    shutil.rmtree(stage.catalogue.folder, ignore_errors=True)
    counts = {f"rows_{step.fate}": step.rows for step in stage.steps}
    counts |= {"arms": len(line.arms), "arms_left_out": len(line.left_out), "users": stage.n_users}
    return RunReport(
        "evaluation",
        counts,
        _figures(context, results),
        seconds,
        "making lists",
        details=_of_everyone(results),
        files=(folder / "report.html", folder / "report.md"),
    )


def _refuse_a_second_look(context: RunContext) -> None:
    """A test that is read until it pleases tells nothing: one look per run id."""
    metrics = delta.read(context.spark, METRICS, context.names)
    if not metrics.where(F.col("run_id") == context.run_id).isEmpty():
        raise EvaluationError(
            f"Run {context.run_id} has read its test already; its results are in `metrics`. "
            "Leave run.run_id out for a new run."
        )


def _tested(stage: Stage, line: Field) -> list[Result]:
    """Make the lists, measure them, keep the metrics of every user, and return the results."""
    context, config = stage.context, stage.context.config.evaluate
    lists = run_arms(stage, line.contenders, line.foreign)
    measured, spec = measure_lists(stage, lists, line.arms)
    per_user = plan.per_user(measured, spec, context.run_id)
    app_id = f"vlm4rec-evaluate-{context.run_id}"
    delta.append_once(per_user, METRICS_PER_USER, context.names, app_id, 0)
    names = tuple(name for name, _ in line.arms)
    draws = Draws(names, config.baseline, config.resamples, config.seed, config.k)
    results = accuracy_results(plan.sums(measured).toArrow(), draws)
    means, exposure = plan.means(measured, spec).toArrow(), plan.exposure(lists).toArrow()
    return [*results, *other_results(means, exposure, stage.catalogue, config.k)]


def _write(context: RunContext, results: Sequence[Result]) -> None:
    rows = [
        {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in {**asdict(result), "run_id": context.run_id}.items()
        }
        for result in results
    ]
    table = pa.Table.from_pylist(rows, schema=METRICS.arrow_schema())
    delta.append_once(
        context.spark.createDataFrame(table),
        METRICS,
        context.names,
        f"vlm4rec-evaluate-{context.run_id}",
        0,
    )


def _evaluation(stage: Stage, line: Field, choice: Choice, results: Sequence[Result]) -> Evaluation:
    context, config = stage.context, stage.context.config
    return Evaluation(
        run_id=context.run_id,
        config_hash=config.content_hash(),
        settings=config.evaluate,
        cut=stage.cut,
        steps=stage.steps,
        n_items=len(stage.catalogue.items),
        n_cold=int(stage.catalogue.is_cold.sum()),
        n_users=stage.n_users,
        encoder=encoder_spec(config).identity,
        vectors=line.vectors,
        left_out=line.left_out,
        tuning=choice.told,
        results=list(results),
        folder=Path(config.evaluate.report).absolute(),
    )


def _figures(context: RunContext, results: Sequence[Result]) -> dict[str, float]:
    """Return NDCG of every arm: whole catalogue, and cold items alone."""
    metric = f"NDCG@{context.config.evaluate.k}"
    return {
        f"ndcg_{result.pool}_{result.arm}": result.value
        for result in results
        if result.slice == "everyone" and result.variants == "kept" and result.metric == metric
    }


def _of_everyone(results: Sequence[Result]) -> dict[str, float]:
    """Return every metric of every arm as 'pool.variants.arm.metric'."""
    return {
        f"{result.pool}.{result.variants}.{result.arm}.{result.metric}": result.value
        for result in results
        if result.slice == "everyone"
    }

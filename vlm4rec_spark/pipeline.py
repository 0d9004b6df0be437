"""The three calls that the command line, the job files and the notebooks are thin over."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from vlm4rec_spark import delta
from vlm4rec_spark.delta import TableNames
from vlm4rec_spark.lease import Lease
from vlm4rec_spark.logs import tagged
from vlm4rec_spark.places import has_scheme
from vlm4rec_spark.runs import RunContext, RunReport, git_commit, new_run_id, record
from vlm4rec_spark.spark_errors import in_our_words
from vlm4rec_spark.tables import spec_named
from vlm4rec_spark.topk.edits import NO_EDIT, STRENGTH, Edit
from vlm4rec_spark.tracking import track

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from vlm4rec_spark.config import Config
    from vlm4rec_spark.evaluation.tables import Table

logger = logging.getLogger(__name__)

DESCRIBE_STAGES = ("catalog", "descriptions")
CATALOG_STAGES = (*DESCRIBE_STAGES, "embeddings")
RECOMMEND_STAGES = ("profiles", "topk")
EVALUATE_STAGES = ("evaluation",)
AUDIT_STAGES = ("audit",)


@runtime_checkable
class Checked(Protocol):
    """A stage whose settings can be wrong in ways that show before any stage of its job starts."""

    def check(self, context: RunContext) -> None:
        """Raise ConfigError for what is wrong."""


def table_names(spark: SparkSession, config: Config) -> TableNames:
    """Return where the tables live.

    Without a metastore the session forgets names when it ends: the tables then go into folders
    under `tables.location`, or under Spark's warehouse folder where that is null.
    """
    tables = config.tables
    location = tables.location
    if location is None and tables.catalog is None:
        kind = spark.conf.get("spark.sql.catalogImplementation", "hive")
        warehouse = spark.conf.get("spark.sql.warehouse.dir", None)
        if kind == "in-memory" and warehouse:
            location = warehouse.removeprefix("file://").removeprefix("file:")
    if location is not None and not has_scheme(location):
        location = str(Path(location).absolute())
    return TableNames(tables.catalog, tables.schema_name, location)


class Pipeline:
    """The jobs over one session and one configuration."""

    def __init__(self, spark: SparkSession, config: Config) -> None:
        self.context = RunContext(
            spark, config, table_names(spark, config), config.run.run_id or new_run_id()
        )

    def catalog(self) -> RunReport:
        """Ingest, describe and embed what is new or changed.

        Returns:
            Counts and figures of all stages as `stage.name`.

        Raises:
            BusyError: another run of this job is at work on the same tables.
            Vlm4RecError: what was seen, what was expected, what to do.
        """
        return self._run("catalog_job", CATALOG_STAGES)

    def describe(self) -> RunReport:
        """Ingest and describe what is new or changed: the catalog job without its vectors."""
        return self._run("catalog_job", DESCRIBE_STAGES)

    def recommend(self) -> RunReport:
        """Make profiles and top-k lists; counts and figures as `stage.name`."""
        return self._run("recommend_job", RECOMMEND_STAGES)

    def evaluate(self) -> RunReport:
        """Compare arms on a part of the log that none of them has seen; writes a report.

        Raises:
            EvaluationError: the comparison would not be fair, or there is nothing to test on.
        """
        return self._run("evaluate_job", EVALUATE_STAGES)

    def audit(self) -> RunReport:
        """Compare neighbours by picture, title, description and shoppers; writes audit.html."""
        return self._run("audit_job", AUDIT_STAGES)

    def diff(self, first: str, second: str) -> list[Table]:
        """Return how two runs differ, as tables: answers, agreement, lists, cost."""
        compare = import_module("vlm4rec_spark.audit.diff_job").compare
        return cast("list[Table]", compare(self.context, first, second))

    def estimate(self, sample: int = 200) -> list[str]:
        """Ingest, describe a sample, and tell what the rest and the whole will take.

        Raises:
            BusyError: a catalog job is at work on the same tables.
            Vlm4RecError: what was seen, what was expected, what to do.
        """
        with in_our_words(), Lease(self.context, "catalog_job").held() as context:
            record(context, import_module("vlm4rec_spark.catalog.job").run(context))
            stage = import_module("vlm4rec_spark.descriptions.estimate_job").estimate_stage
            return cast("list[str]", stage(context, sample))

    def publish(self, *, dry_run: bool = False) -> RunReport:
        """Hand lists, neighbours and attributes to the places under `publish`.

        Args:
            dry_run: count the rows and write nothing.
        """
        with in_our_words():
            return _stage(self.context, "publish", dry_run=dry_run)

    def search(
        self,
        text: str | None = None,
        k: int = 10,
        where: str | None = None,
        *,
        user_id: str | None = None,
        edit: Edit = NO_EDIT,
    ) -> DataFrame:
        """Return the k items nearest to a sentence or to a user's profile, best first.

        Args:
            text: the sentence; None: the profile.
            k: items wanted.
            where: condition that every item meets, as in `topk.rules`.
            user_id: whose profile; what they have seen is left out. None: the sentence.
            edit: in words, for example `Edit(more=("linen",), less=("florals",))`.
        """
        search = import_module("vlm4rec_spark.topk.search").search
        with in_our_words():
            found = search(self.context, text, k, where, user_id=user_id, edit=edit)
        return cast("DataFrame", found)

    def search_many(
        self,
        queries: str,
        k: int = 10,
        where: str | None = None,
        *,
        strength: float = STRENGTH,
    ) -> RunReport:
        """Write the k items nearest to each row of a table of queries into `searches`.

        Args:
            queries: table or path with the columns query_id, text and, where wanted, more, less.
            k: items wanted.
            where: condition that every item meets, as in `topk.rules`.
            strength: weight of a phrase in more or less.
        """
        run: Any = import_module("vlm4rec_spark.topk.queries_job").search_many
        with in_our_words():
            return cast("RunReport", run(self.context, queries, k, where, strength))

    def trial(self, users: Sequence[str]) -> DataFrame:
        """Return the lists these users would get with this configuration; writes no table.

        Args:
            users: ids of the users.
        """
        trial = import_module("vlm4rec_spark.topk.trial_job").trial
        return cast("DataFrame", trial(self.context, users))

    def table(self, name: str) -> DataFrame:
        """Return one of our tables, for example 'recommendations'; empty where it is missing.

        Raises:
            SchemaError: there is no such table.
        """
        return delta.read(self.context.spark, spec_named(name), self.context.names)

    def _run(self, name: str, stages: Sequence[str]) -> RunReport:
        with in_our_words(), Lease(self.context, name).held() as context:
            for stage in stages:
                job = import_module(f"vlm4rec_spark.{stage}.job")
                if isinstance(job, Checked):
                    job.check(context)
            return combine(name, [_stage(context, stage) for stage in stages])


def _stage(context: RunContext, stage: str, **arguments: bool) -> RunReport:
    """Run one stage; its log lines and its Spark queries carry the run and the stage."""
    job: Any = import_module(f"vlm4rec_spark.{stage}.job")
    with tagged(context.spark, context.run_id, stage):
        context.check_lease()
        logger.info("stage %s starts (run %s)", stage, context.run_id)
        report: RunReport = job.run(context, **arguments)
        if not arguments.get("dry_run"):
            record(context, report)
            track(context.config, context.run_id, report, {"git_commit": git_commit()})
        logger.info("stage %s: %.1f s, %s", stage, report.seconds, report.bottleneck)
    return report


def combine(name: str, reports: Sequence[RunReport]) -> RunReport:
    """Return one report of several; its bottleneck is that of the longest stage."""
    longest = max(reports, key=lambda report: report.seconds)
    return RunReport(
        name,
        _prefixed({report.stage: report.counts for report in reports}),
        _prefixed({report.stage: report.figures for report in reports}),
        sum(report.seconds for report in reports),
        f"{longest.stage}: {longest.bottleneck}",
    )


def _prefixed(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{stage}.{key}": value for stage, part in parts.items() for key, value in part.items()}

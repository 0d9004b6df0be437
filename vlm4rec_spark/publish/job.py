"""The publish stage: reads lists, neighbours and attributes, hands them to a shop's systems."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.errors import ConfigError, PublishError
from vlm4rec_spark.publish.files import announce, prune, run_folder
from vlm4rec_spark.publish.plan import in_slice, nested, published
from vlm4rec_spark.publish.postgres import PostgresTarget, connected, jdbc_options, state_text
from vlm4rec_spark.publish.published import PREVIEWED, PUBLISHED, PublishedTable
from vlm4rec_spark.runs import RunReport
from vlm4rec_spark.tables import DESCRIPTIONS
from vlm4rec_spark.topk.snapshot import snapshots

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)


def run(context: RunContext, *, dry_run: bool = False) -> RunReport:
    """Publish the tables in force to every configured place.

    Args:
        context: session, configuration, tables.
        dry_run: count the rows, write nothing and connect to nothing.

    Returns:
        counts: per table TABLE_rows and TABLE_changed (in the database), and slices_reused.

    Raises:
        ConfigError: no place is configured.
        PublishError: the database cannot be reached or refuses, or a table would shrink by more
            than `publish.postgres.max_shrink`; what readers see is then unchanged.
    """
    started = time.monotonic()
    config = context.config.publish
    if not config.postgres.url and not config.files.folder:
        raise ConfigError(
            "Nothing to publish to: set publish.postgres.url, publish.files.folder or both."
        )
    tables = [PUBLISHED[name] for name in dict.fromkeys(config.tables)]
    frames = {table: _pinned(context, table) for table in tables}
    if dry_run:
        counts = {f"{table.name}_rows": frames[table][0].count() for table in tables}
        return RunReport("publish", counts, {}, time.monotonic() - started, "dry run: counting")
    counts = {}
    if config.postgres.url:
        counts |= _into_postgres(context, frames)
    if config.files.folder:
        counts |= _into_files(context, frames)
    return RunReport("publish", counts, {}, time.monotonic() - started, "writing rows")


def _pinned(context: RunContext, table: PublishedTable) -> tuple[DataFrame, str]:
    """Return the rows of a published table and the state of its sources that they come from."""
    spark, names = context.spark, context.names
    sources, versions = {}, {}
    for spec in table.sources:
        delta.read(spark, spec, names)  # made where it is missing
        version = delta.last_version(spark, spec, names)
        sources[spec.name] = delta.read_version(spark, spec, names, version)
        versions[spec.name] = f"{delta.table_id(spark, spec, names)}@{version}"
    min_confidence = context.config.describe.min_confidence
    if DESCRIPTIONS in table.sources:
        versions["min_confidence"] = str(min_confidence)
    return published(table, sources, min_confidence), state_text(versions)


def _into_postgres(
    context: RunContext, frames: dict[PublishedTable, tuple[DataFrame, str]]
) -> dict[str, int]:
    config = context.config.publish.postgres
    reused = 0
    with connected(config) as target:
        states: dict[PublishedTable, str] = {}
        for table, (frame, state) in frames.items():
            target.prepare(table)
            if target.published_state(table) == state:
                logger.info("publish: %s is unchanged since the last publication", table.name)
                continue
            reused += _bring_over(context, target, table, frame, state)
            _check_size(target, table, config.max_shrink)
            states[table] = state
        counts = target.put_in_force(context.run_id, states)
    unchanged = {f"{t.name}_changed": 0 for t in frames if t not in states}
    return {**unchanged, **counts, "slices_reused": reused}


def _bring_over(
    context: RunContext,
    target: PostgresTarget,
    table: PublishedTable,
    frame: DataFrame,
    state: str,
) -> int:
    """Write the slices that are not there yet into the staging table; return how many were."""
    slices = context.config.publish.postgres.slices
    done = target.loaded_slices(table, state, slices)
    for number in range(slices):
        if number in done:
            continue
        target.begin_slice(table, number)
        rows = frame.where(in_slice(table, number, slices))
        _write_slice(context, table, rows.withColumn("slice", F.lit(number)))
        target.end_slice(table, state, slices, number)
        logger.info("publish: %s, slice %d of %d is staged", table.name, number + 1, slices)
    return len(done)


def _write_slice(context: RunContext, table: PublishedTable, rows: DataFrame) -> None:
    options = jdbc_options(context.config.publish.postgres, table)
    rows.write.format("jdbc").mode("append").options(**options).save()


def _check_size(target: PostgresTarget, table: PublishedTable, max_shrink: float) -> None:
    before, after = target.row_counts(table)
    if after < before * (1 - max_shrink):
        raise PublishError(
            f"{table.name} would go from {before:,} to {after:,} rows, a loss of more than "
            f"publish.postgres.max_shrink ({max_shrink:.0%}); nothing was changed. If that is "
            "right, set it to 1.0 for one run."
        )


def _into_files(
    context: RunContext, frames: dict[PublishedTable, tuple[DataFrame, str]]
) -> dict[str, int]:
    config = context.config.publish.files
    folder = run_folder(config.folder or "", context.run_id)
    written: dict[str, dict[str, str]] = {}
    for table, (frame, _) in frames.items():
        written[table.name] = {}
        for kind in config.formats:
            place = f"{table.name}.{kind}"
            if kind == "parquet":
                frame.write.parquet(str(folder / place))
            else:
                nested(table, frame).write.json(str(folder / place), compression="gzip")
            written[table.name][kind] = place
    if config.preview:
        _copy_for_preview(context, folder / "preview")
    announce(folder, written)
    pruned = prune(folder, config.keep)
    return {"files_tables": len(written), "files_runs_deleted": len(pruned)}


def _copy_for_preview(context: RunContext, folder: Path) -> None:
    """Write the tables as Parquet and the item matrix, ScaNN's index left out: it is not read."""
    for spec in PREVIEWED:
        rows = delta.read(context.spark, spec, context.names)
        rows.write.parquet(str(folder / spec.name))
    found = snapshots(Path(context.config.topk.index_path).absolute())
    if found:
        place = folder / "index" / found[0].name
        shutil.copytree(found[0], place, ignore=shutil.ignore_patterns("index", "*.partial"))

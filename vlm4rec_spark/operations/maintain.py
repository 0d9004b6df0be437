"""Upkeep of the tables and of the item matrix: compact, delete what nothing reads, check."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vlm4rec_spark import delta
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.operations.migrations import STORED, pending
from vlm4rec_spark.runs import RunReport
from vlm4rec_spark.topk.snapshot import snapshots
from vlm4rec_spark.topk.snapshot_files import KEPT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.table_spec import TableSpec

logger = logging.getLogger(__name__)
SAFE_HOURS = 168
"""A week, Delta's own lower limit: a job that reads an older version longer than that fails."""
PARTIAL_AFTER_S = 86_400
"""A folder that was being written this long ago belongs to a run that died."""


def run(
    context: RunContext, *, retention_hours: int = SAFE_HOURS, dry_run: bool = False
) -> RunReport:
    """Compact every table, delete files and matrices nothing reads, check keys and constraints.

    Args:
        context: session, configuration, tables.
        retention_hours: files that stopped being part of a table longer ago are deleted.
        dry_run: count what would be deleted and check; change nothing.

    Returns:
        counts: tables, files_compacted (into fewer), files_deleted (to be deleted, in a dry run),
            matrices_deleted, and what should be 0: migrations_pending and, for each table with a
            key, TABLE_duplicate_keys where there are some.

    Raises:
        ConfigError: the retention is shorter than is safe.
    """
    if retention_hours < SAFE_HOURS:
        raise ConfigError(
            f"--retention-hours {retention_hours} is not safe: jobs and readers that are in the "
            f"middle of an older version would fail. Give {SAFE_HOURS} or more."
        )
    started = time.monotonic()
    spark, names = context.spark, context.names
    counts = {"tables": 0, "files_compacted": 0, "files_deleted": 0}
    for spec in STORED:
        if not delta.table_exists(spark, spec, names):
            continue
        counts["tables"] += 1
        if not dry_run:
            counts["files_compacted"] += _compact(spark, names, spec)
        counts["files_deleted"] += _vacuum(spark, names, spec, retention_hours, dry_run=dry_run)
        counts |= _duplicates(spark, names, spec)
    root = Path(context.config.topk.index_path).absolute()
    counts["matrices_deleted"] = prune_matrices(root, dry_run=dry_run)
    counts["migrations_pending"] = len(pending(spark, names))
    return RunReport("maintain", counts, {}, time.monotonic() - started, "compacting")


def _compact(spark: SparkSession, names: TableNames, spec: TableSpec) -> int:
    row = spark.sql(f"OPTIMIZE {names.qualified(spec)}").select("metrics.numFilesRemoved").first()
    return int(row[0] or 0) if row else 0


def _vacuum(
    spark: SparkSession, names: TableNames, spec: TableSpec, hours: int, *, dry_run: bool
) -> int:
    """Delete the files that stopped being part of the table; return how many.

    Delta says how many only when asked beforehand.
    """
    statement = f"VACUUM {names.qualified(spec)} RETAIN {hours} HOURS"
    # Delta lists the folder of the change feed too, which it never deletes.
    n = spark.sql(f"{statement} DRY RUN").where("path NOT LIKE '%/_change_data'").count()
    if n and not dry_run:
        spark.sql(statement)
    return n


def _duplicates(spark: SparkSession, names: TableNames, spec: TableSpec) -> dict[str, int]:
    """Count the keys that are there more than once: Delta does not hold keys unique."""
    if not spec.key:
        return {}
    keys = spark.table(names.qualified(spec)).groupBy(*spec.key).count().where("count > 1")
    n = keys.count()
    if n:
        logger.error("%s: %d keys are there more than once", spec.name, n)
    return {f"{spec.name}_duplicate_keys": n} if n else {}


def prune_matrices(root: Path, *, dry_run: bool = False) -> int:
    """Delete item matrices that no run uses any more; return how many.

    The newest ones stay (a run may still read the one before), and folders in the making do,
    unless they are a day old.
    """
    now = time.time()
    dead = [p for p in root.glob(".partial-*") if now - p.stat().st_mtime > PARTIAL_AFTER_S]
    old = [*snapshots(root)[KEPT:], *dead]
    for folder in () if dry_run else old:
        shutil.rmtree(folder, ignore_errors=True)
    return len(old)

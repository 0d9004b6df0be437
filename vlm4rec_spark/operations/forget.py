"""Remove a person from everything we wrote, and prove it.

What the shop itself keeps (its interaction log) is the shop's to delete: while the log still has
the person, the next run would bring them back, so that is told.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlm4rec_spark import delta
from vlm4rec_spark.catalog.sources import read_source
from vlm4rec_spark.places import has_scheme
from vlm4rec_spark.publish.postgres import connected
from vlm4rec_spark.publish.published import PUBLISHED
from vlm4rec_spark.tables import ALL_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.table_spec import TableSpec

logger = logging.getLogger(__name__)
COLUMN = "user_id"
COLUMNS = (COLUMN, "query_id")
"""Where people are named: a shop may give a query the id of the user it is for."""


@dataclass(frozen=True)
class Place:
    """One place that was searched: rows before and after, and what is left to do there."""

    name: str
    before: int
    after: int
    note: str = ""

    @property
    def is_clean(self) -> bool:
        """Nothing of the person is left."""
        return self.after == 0


def forget(
    context: RunContext, user_id: str, *, purge: bool = False, dry_run: bool = False
) -> list[Place]:
    """Remove a person from every table, folder and database we write.

    Args:
        context: session, configuration, tables.
        user_id: who, as in the tables.
        purge: also delete the files of older table versions at once, which fails readers and jobs
            that are in the middle of one; else `vlm4rec maintain` deletes them after a week.
        dry_run: count only.

    Returns:
        Every place searched, with the rows found before and after.
    """
    places = []
    for spec in ALL_TABLES:
        if _column(spec.column_names) and delta.table_exists(context.spark, spec, context.names):
            places.append(_from_table(context, spec, user_id, dry_run=dry_run))
            places += _old_files(context, spec, user_id, purge=purge and not dry_run)
    places += _from_working_files(context, user_id, dry_run=dry_run)
    places += _from_postgres(context, user_id, dry_run=dry_run)
    places += _from_exports(context, user_id, dry_run=dry_run)
    places += _in_source(context, user_id)
    for place in places:
        logger.info("forget: %s", place)
    return places


def _column(names: Sequence[str]) -> str | None:
    return next((name for name in COLUMNS if name in names), None)


def _from_table(context: RunContext, spec: TableSpec, user_id: str, *, dry_run: bool) -> Place:
    table = context.names.qualified(spec)
    # By its hash: the transaction log keeps the condition of a DELETE.
    digest = hashlib.sha256(user_id.encode()).hexdigest()
    condition = f"SHA2({_column(spec.column_names)}, 256) = '{digest}'"
    before = context.spark.table(table).where(condition).count()
    if before and not dry_run:
        context.spark.sql(f"DELETE FROM {table} WHERE {condition}")  # noqa: S608 - our names, a hash
    after = context.spark.table(table).where(condition).count()
    return Place(f"table {spec.name}", before, after)


def _old_files(
    context: RunContext, spec: TableSpec, user_id: str, *, purge: bool
) -> Iterator[Place]:
    """Look into the files that older versions of a table left behind, where we can see them."""
    path = context.names.path(spec)
    folder = None if path is None or has_scheme(path) else Path(path)
    if folder is None and not purge:
        return
    before = _rows_in_files(folder, user_id) if folder else 0
    if purge:
        _delete_old_versions(context, spec)
    after = _rows_in_files(folder, user_id) if folder else 0
    note = "" if folder else "files deleted, not looked into: they are in no folder of this machine"
    if after:
        note = "in files of older versions; `vlm4rec maintain` deletes them after 7 days"
    yield Place(f"files of {spec.name}", before, after, note)


def _delete_old_versions(context: RunContext, spec: TableSpec) -> None:
    """VACUUM without retention, for this table alone and without a setting of the session."""
    spark, table = context.spark, context.names.qualified(spec)
    name = "delta.deletedFileRetentionDuration"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('{name}' = 'interval 0 hours')")
    try:
        spark.sql(f"VACUUM {table}")
    finally:
        spark.sql(f"ALTER TABLE {table} UNSET TBLPROPERTIES IF EXISTS ('{name}')")


def _rows_in_files(folder: Path, user_id: str) -> int:
    """Count the person's rows in all Parquet files below a folder, of whatever version."""
    n = 0
    for path in folder.rglob("*.parquet"):
        if "_delta_log" in path.parts or not path.is_file():
            continue
        column = _column(pq.read_schema(path).names)
        if column is None:
            continue
        values = pq.read_table(path, columns=[column])[column]
        n += int(pc.sum(pc.equal(values, user_id)).as_py() or 0)
    return n


def _from_working_files(context: RunContext, user_id: str, *, dry_run: bool) -> Iterator[Place]:
    root = Path(context.config.topk.index_path).absolute()
    folder = root / "landing" / context.names.schema
    if not folder.is_dir():
        return
    before = _rows_in_files(folder, user_id)
    if before and not dry_run:
        shutil.rmtree(folder)  # every run writes these anew
    yield Place("working files", before, _rows_in_files(folder, user_id))


def _from_postgres(context: RunContext, user_id: str, *, dry_run: bool) -> Iterator[Place]:
    config = context.config.publish.postgres
    if not config.url:
        return
    with connected(config) as target:
        for table in PUBLISHED.values():
            if COLUMN in table.column_names:
                before = target.count(table, COLUMN, user_id)
                if before and not dry_run:
                    target.forget(table, COLUMN, user_id)
                after = target.count(table, COLUMN, user_id)
                yield Place(f"PostgreSQL {config.schema_name}.{table.name}", before, after)


def _from_exports(context: RunContext, user_id: str, *, dry_run: bool) -> Iterator[Place]:
    """Delete every exported run that holds the person: an export is not edited, but made again."""
    folder = context.config.publish.files.folder
    if not folder:
        return
    for run in sorted(Path(folder).absolute().glob("run-*")):
        before = _rows_in_export(context, run, user_id)
        if not before:
            continue
        if not dry_run:
            shutil.rmtree(run)
        after = before if dry_run else 0
        yield Place(f"export {run.name}", before, after, "run `vlm4rec publish` to make a new one")


def _rows_in_export(context: RunContext, run: Path, user_id: str) -> int:
    n = _rows_in_files(run, user_id)
    for lines in run.glob("*.jsonl"):
        frame = context.spark.read.json(str(lines))
        if COLUMN in frame.columns:
            n += frame.where(frame[COLUMN] == user_id).count()
    return n


def _in_source(context: RunContext, user_id: str) -> Iterator[Place]:
    source = context.config.sources.interactions
    if not source.is_given:
        return
    log = read_source(context.spark, source)
    n = log.where(log[COLUMN] == user_id).count()
    note = "delete them there, or the next run brings the person back" if n else ""
    yield Place("your interaction log", n, n, note)

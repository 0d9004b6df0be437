"""The only place that writes Delta tables; works on Spark Classic and on Spark Connect."""

from __future__ import annotations

import contextlib
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from vlm4rec_spark.errors import SchemaError
from vlm4rec_spark.merge_sql import difference_query, merge_statement
from vlm4rec_spark.places import has_scheme
from vlm4rec_spark.session import on_databricks
from vlm4rec_spark.table_spec import quoted
from vlm4rec_spark.tables import TableSpec, sql_type
from vlm4rec_spark.unity import unity_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame, Row, SparkSession

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableNames:
    """Where the tables live: names in a metastore, and a folder or URL where none keeps them."""

    catalog: str | None
    schema: str
    location: str | None = None

    @property
    def qualified_schema(self) -> str:
        """Name of the schema, quoted."""
        return ".".join(_quoted(part) for part in (self.catalog, self.schema) if part)

    def qualified(self, spec: TableSpec) -> str:
        """Return the two- or three-level name of a table, quoted.

        >>> from vlm4rec_spark.tables import ITEMS
        >>> TableNames("main", "recs").qualified(ITEMS)
        '`main`.`recs`.`items`'
        """
        return f"{self.qualified_schema}.{_quoted(spec.name)}"

    def path(self, spec: TableSpec) -> str | None:
        """Return the absolute folder or the URL of a table, or None where the metastore decides.

        >>> from vlm4rec_spark.tables import ITEMS
        >>> TableNames(None, "recs", "s3://bucket/shop").path(ITEMS)
        's3://bucket/shop/recs/items'
        """
        if self.location is None:
            return None
        # As text: pathlib would make one slash of the two behind a scheme.
        is_url = has_scheme(self.location)
        root = self.location if is_url else str(Path(self.location).absolute())
        return f"{root.rstrip('/')}/{self.schema}/{spec.name}"


@dataclass(frozen=True)
class MergeCounts:
    """Rows a merge wrote."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def changed(self) -> int:
        """Sum of the three."""
        return self.inserted + self.updated + self.deleted

    def __add__(self, other: MergeCounts) -> MergeCounts:
        """Return what two merges wrote."""
        return MergeCounts(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.deleted + other.deleted,
        )


def ids_frame(spark: SparkSession, ids: pa.Array, name: str = "item_id") -> DataFrame:
    """Return ids as a frame of one column; without its type Connect takes no empty one."""
    return spark.createDataFrame(pa.table({name: ids}), f"{name} STRING")


def table_exists(spark: SparkSession, spec: TableSpec, names: TableNames) -> bool:
    """Tell whether the table exists; one that only its folder knows is given its name again."""
    qualified = names.qualified(spec)
    if spark.catalog.tableExists(qualified):
        return True
    path = names.path(spec)
    if path is None or not _is_table(spark, path):
        return False
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS {names.qualified_schema}")
    spark.sql(f"CREATE TABLE IF NOT EXISTS {qualified} USING DELTA LOCATION {quoted(path)}")
    return True


def _is_table(spark: SparkSession, path: str) -> bool:
    """Tell whether a folder or URL holds a Delta table; only Spark can look behind a URL."""
    if not has_scheme(path):
        return (Path(path) / "_delta_log").is_dir()
    from pyspark.errors import AnalysisException

    try:
        spark.sql(f"DESCRIBE DETAIL delta.{_quoted(path)}").collect()
    except AnalysisException:  # a store that cannot be reached is another error, and not hidden
        return False
    return True


def create_table(spark: SparkSession, spec: TableSpec, names: TableNames) -> None:
    """Make the table where it is missing, and add the constraints it lacks.

    Raises:
        SchemaError: the stored table lacks a column.
    """
    qualified = names.qualified(spec)
    if not table_exists(spark, spec, names):
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {names.qualified_schema}")
        with_checks = names.catalog is None
        spark.sql(spec.create_statement(qualified, names.path(spec), with_checks=with_checks))
        if names.catalog is not None and on_databricks():
            for statement in unity_statements(spec, qualified):
                spark.sql(statement)
    _check_columns(spark.table(qualified), spec, f"The table {qualified}")
    if names.catalog is not None:
        _add_constraints(spark, spec, qualified)


def _add_constraints(spark: SparkSession, spec: TableSpec, qualified: str) -> None:
    """Add what a run that died between CREATE and ALTER left out."""
    detail = spark.sql(f"DESCRIBE DETAIL {qualified}").select("properties").collect()[0]
    statements = spec.constraint_statements(qualified)
    for (name, _), statement in zip(spec.constraints, statements, strict=True):
        if f"delta.constraints.{name}" not in detail["properties"]:
            spark.sql(statement)


def read(spark: SparkSession, spec: TableSpec, names: TableNames) -> DataFrame:
    """Return the table as a frame; made empty where it is missing."""
    if not table_exists(spark, spec, names):
        create_table(spark, spec, names)
    return spark.table(names.qualified(spec))


def replace(df: DataFrame, spec: TableSpec, names: TableNames) -> DataFrame:
    """Write the rows in place of all that the table holds, and return what was written."""
    create_table(df.sparkSession, spec, names)
    return _overwritten(df, spec, names.qualified(spec))


def _overwritten(df: DataFrame, spec: TableSpec, qualified: str) -> DataFrame:
    from pyspark.sql import functions

    _cast(df, spec).writeTo(qualified).overwrite(functions.lit(True))
    return df.sparkSession.table(qualified)


def last_version(spark: SparkSession, spec: TableSpec, names: TableNames) -> int:
    """Return the number of the table's newest commit."""
    return int(_last_commit(spark, names.qualified(spec))["version"])


def read_version(
    spark: SparkSession, spec: TableSpec, names: TableNames, version: int
) -> DataFrame:
    """Return the table as it was after a commit."""
    return spark.read.option("versionAsOf", version).table(names.qualified(spec))


def table_id(spark: SparkSession, spec: TableSpec, names: TableNames) -> str:
    """Return the id that Delta gave the table when it was made; another one after a DROP."""
    detail = spark.sql(f"DESCRIBE DETAIL {names.qualified(spec)}").select("id").collect()
    return str(detail[0]["id"])


def append_once(
    df: DataFrame, spec: TableSpec, names: TableNames, app_id: str, version: int
) -> None:
    """Append the rows; a second call with the same `app_id` and `version` writes nothing.

    Args:
        df: rows with at least the columns of the spec, in any order.
        spec: table to append to; made when missing.
        names: where the tables live.
        app_id: who writes, for example the run and the stage.
        version: number of the slice; must grow within one `app_id`.
    """
    create_table(df.sparkSession, spec, names)
    _cast(df, spec).write.format("delta").mode("append").option("txnAppId", app_id).option(
        "txnVersion", str(version)
    ).saveAsTable(names.qualified(spec))


def replace_where(df: DataFrame, spec: TableSpec, names: TableNames, condition: str) -> None:
    """Put the rows of the frame in the place of those that meet the condition, in one commit.

    Every row of the frame must meet the condition; Delta refuses the write otherwise.
    """
    create_table(df.sparkSession, spec, names)
    _cast(df, spec).write.format("delta").mode("overwrite").option(
        "replaceWhere", condition
    ).saveAsTable(names.qualified(spec))


def merge_on_key(
    spark: SparkSession,
    df: DataFrame,
    spec: TableSpec,
    names: TableNames,
    *,
    delete_missing: bool = False,
    keep: Callable[[DataFrame], DataFrame] | None = None,
) -> MergeCounts:
    """Bring the table to the rows of the frame; rows that do not differ are not written.

    Delta may read the source twice: give it a frame read from a table, or a way to keep one that
    ends in a model call. Rows whose volatile columns alone differ count as equal.

    Args:
        spark: session.
        df: rows with at least the columns of the spec, each key once, no null key.
        spec: table to merge into; made when missing.
        names: where the tables live.
        delete_missing: delete the rows whose key the frame lacks.
        keep: writes the frame and returns it read back; asked only where it is read twice.

    Returns:
        What was written; nothing is committed when nothing differs.
    """
    create_table(spark, spec, names)
    qualified = names.qualified(spec)
    if not spec.by_many and spark.table(qualified).isEmpty():
        # The first load: no join, and one look at the source.
        _overwritten(df, spec, qualified)
        counts = MergeCounts(inserted=_loaded_rows(spark, qualified))
        logger.info("%s: %s", spec.name, counts)
        return counts
    df = keep(df) if keep else df
    with _viewed(df, spec) as view:
        # Delta commits, and copies files, even for a MERGE that changes no row.
        question = difference_query(spec, qualified, view, delete_missing=delete_missing)
        if not spark.sql(question).collect():
            return MergeCounts()
        statement = merge_statement(spec, qualified, view, delete_missing=delete_missing)
        counts = run_merge(spark, statement)
    logger.info("%s: %s", spec.name, counts)
    return counts


def upsert(df: DataFrame, spec: TableSpec, names: TableNames) -> MergeCounts:
    """Put rows in the place of those with their keys, or add them, for rows known to be new.

    Unlike `merge_on_key` it does not look first whether anything differs: Delta may commit though
    no row changes.
    """
    spark = df.sparkSession
    create_table(spark, spec, names)
    with _viewed(df, spec) as view:
        return run_merge(spark, merge_statement(spec, names.qualified(spec), view))


@contextlib.contextmanager
def _viewed(df: DataFrame, spec: TableSpec) -> Iterator[str]:
    """Lend the rows, as the table keeps them, a name that SQL can use."""
    view = f"{spec.name}_{uuid.uuid4().hex}"
    _cast(df, spec).createOrReplaceTempView(view)
    try:
        yield view
    finally:
        df.sparkSession.catalog.dropTempView(view)


def run_merge(spark: SparkSession, statement: str) -> MergeCounts:
    """Run a MERGE and return what it wrote."""
    (row,) = spark.sql(statement).collect()
    return MergeCounts(row.num_inserted_rows, row.num_updated_rows, row.num_deleted_rows)


def _cast(df: DataFrame, spec: TableSpec) -> DataFrame:
    """Return the spec's columns in order, cast to their types."""
    _check_columns(df, spec, "The frame to be written")
    return df.selectExpr(
        *(f"CAST(`{c.name}` AS {sql_type(c.type)}) AS `{c.name}`" for c in spec.columns)
    )


def _check_columns(df: DataFrame, spec: TableSpec, what: str) -> None:
    missing = [name for name in spec.column_names if name not in df.columns]
    if missing:
        raise SchemaError(
            f"{what} lacks the columns {', '.join(missing)} of '{spec.name}' (it has "
            f"{', '.join(df.columns)}); `vlm4rec migrate` brings tables of an earlier version to "
            "this one."
        )


def _last_commit(spark: SparkSession, qualified: str) -> Row:
    return spark.sql(f"DESCRIBE HISTORY {qualified} LIMIT 1").collect()[0]


def _loaded_rows(spark: SparkSession, qualified: str) -> int:
    """Return the rows of a table just loaded: its log knows them, which spares counting."""
    commit = _last_commit(spark, qualified)
    if commit["operation"] == "WRITE":
        return int(commit["operationMetrics"]["numOutputRows"])
    return spark.table(qualified).count()  # another writer has committed since


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"

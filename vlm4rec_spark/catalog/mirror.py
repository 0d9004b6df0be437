"""Fetch only what is new: a source with a watermark is kept in a Delta table of ours.

The newest watermark in that table is the state: nothing else remembers how far a run came, so a
run that dies fetches the same rows again. Rows behind it, `overlap` wide, are fetched once more,
because a database shows a row when it is committed, which may be after newer ones.
"""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from vlm4rec_spark import delta
from vlm4rec_spark.catalog.columns import expressions
from vlm4rec_spark.catalog.opening import open_source
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.tables import SOURCE_INTERACTIONS, SOURCE_ITEMS, TableSpec, sql_type

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from vlm4rec_spark.config_inputs import InteractionsSource, ItemsSource
    from vlm4rec_spark.delta import TableNames

logger = logging.getLogger(__name__)
MICROSECONDS_AN_HOUR = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIMES = ("timestamp", "timestamp_ntz", "date")
_INTEGERS = ("tinyint", "smallint", "int", "bigint")


def mirrored_interactions(
    spark: SparkSession, source: InteractionsSource, names: TableNames
) -> DataFrame:
    """Fetch the new rows of the log and return all fetched so far, with the mapped columns.

    Rows at or above the lower end replace what the table held there: a row that the source
    deleted or corrected within the overlap is deleted or corrected here.
    """
    fetched, since = _fetched(spark, source, names, SOURCE_INTERACTIONS)
    place = "TRUE" if since is None else f"watermark >= {since}"
    delta.replace_where(fetched, SOURCE_INTERACTIONS, names, place)
    mapped = [name for name, column in source.columns.model_dump().items() if column]
    return delta.read(spark, SOURCE_INTERACTIONS, names).select(*mapped)


def mirrored_items(spark: SparkSession, source: ItemsSource, names: TableNames) -> DataFrame:
    """Fetch the new and changed rows of the catalogue and return all fetched so far.

    An item that the source deletes stays; map `available` to take it out of the lists, or drop the
    table `source_items` to fetch everything again.
    """
    fetched, since = _fetched(spark, source, names, SOURCE_ITEMS)
    newest = (
        "ROW_NUMBER() OVER (PARTITION BY item_id ORDER BY watermark DESC, "
        "SHA2(TO_JSON(STRUCT(title, category, brand, price, available, image)), 256)) AS __rank"
    )
    rows = fetched.where("item_id IS NOT NULL").selectExpr("*", newest).where("__rank = 1")
    if since is None:
        delta.replace_where(rows.drop("__rank"), SOURCE_ITEMS, names, "TRUE")
    else:
        _merge(spark, rows.drop("__rank"), names)
    return delta.read(spark, SOURCE_ITEMS, names).drop("watermark", "source_hash")


def _merge(spark: SparkSession, rows: DataFrame, names: TableNames) -> None:
    """Merge by way of a working table: a merge reads its source twice, the database once."""
    working = TableSpec(
        "incoming_source_items", SOURCE_ITEMS.columns, (), ("item_id",), (), "Working table"
    )
    delta.replace_where(rows, working, names, "TRUE")
    delta.merge_on_key(spark, delta.read(spark, working, names), SOURCE_ITEMS, names)


def _fetched(
    spark: SparkSession,
    source: InteractionsSource | ItemsSource,
    names: TableNames,
    spec: TableSpec,
) -> tuple[DataFrame, int | None]:
    """Return the rows to fetch with the columns of the table, and the lowest watermark of them."""
    where = "sources." + spec.name.removeprefix("source_")
    digest = _mapping_hash(source)
    newest = _newest(spark, names, spec, digest)
    _, seen = open_source(spark, source, where)
    column, kind = _watermark_column(source, seen, where)
    since = None if newest is None else newest - _overlap(source, kind)
    start = None if since is None else _as_text(since, kind)
    same = source.partitions and source.partitions.column == column
    frame, _ = open_source(spark, source, where, start if same else None)
    quoted = f"`{column}`"
    value = f"UNIX_MICROS(CAST({quoted} AS TIMESTAMP))" if kind in _TIMES else quoted
    wanted = f"{quoted} IS NOT NULL" if start is None else f"{quoted} >= {_literal(start, kind)}"
    made = expressions(seen, _mapped(source, spec), where)
    rows = frame.where(wanted).selectExpr(
        *made, f"CAST({value} AS BIGINT) AS watermark", f"'{digest}' AS source_hash"
    )
    logger.info("%s: fetching from %s %s", where, column, start or "the beginning")
    return _complete(rows, spec), since


def _newest(spark: SparkSession, names: TableNames, spec: TableSpec, digest: str) -> int | None:
    """Return the highest watermark fetched, None where another source or mapping filled it."""
    table = delta.read(spark, spec, names)
    row = table.selectExpr(
        "MAX(watermark) AS newest", f"BOOL_AND(source_hash = '{digest}') AS same"
    ).first()
    return int(row["newest"]) if row is not None and row["same"] else None


def _watermark_column(
    source: InteractionsSource | ItemsSource, seen: dict[str, str], where: str
) -> tuple[str, str]:
    column = source.watermark.column if source.watermark else ""
    found = [name for name in seen if name.lower() == column.lower()]
    kind = seen[found[0]] if found else "missing"
    whole = kind.startswith("decimal(") and kind.endswith(",0)")
    if kind not in (*_TIMES, *_INTEGERS) and not whole:
        raise SourceError(
            f"{where}.watermark.column: '{column}' is {kind}; expected a time or an integer. The "
            f"source has: {', '.join(seen)}."
        )
    return found[0], kind


def _overlap(source: InteractionsSource | ItemsSource, kind: str) -> int:
    width = source.watermark.overlap if source.watermark else 0.0
    return int(width * MICROSECONDS_AN_HOUR) if kind in _TIMES else int(width)


def _as_text(value: int, kind: str) -> str:
    if kind not in _TIMES:
        return str(value)
    moment = EPOCH + timedelta(microseconds=value)
    return f"{moment:%Y-%m-%d}" if kind == "date" else f"{moment:%Y-%m-%d %H:%M:%S.%f}"


def _literal(text: str, kind: str) -> str:
    if kind == "timestamp":
        return f"TIMESTAMP '{text} UTC'"
    return f"{kind.upper()} '{text}'" if kind in _TIMES else text


def _mapped(source: InteractionsSource | ItemsSource, spec: TableSpec) -> dict[str, Any]:
    return {k: v for k, v in source.columns.model_dump().items() if k in spec.column_names}


def _mapping_hash(source: InteractionsSource | ItemsSource) -> str:
    """Return what changes when the rows kept cannot be trusted any more."""
    shape = source.model_dump(include={"format", "path", "table", "watermark", "columns"})
    shape["watermark"] = shape["watermark"]["column"]
    shape["dbtable"] = str(source.options.get("dbtable", ""))
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]


def _complete(rows: DataFrame, spec: TableSpec) -> DataFrame:
    """Add the columns that are not mapped, null (an item is available), in the table's order."""
    there = set(rows.columns)
    values = {"available": "TRUE", "attributes": "MAP()"}
    made = [
        f"`{c.name}`" if c.name in there
        else f"CAST({values.get(c.name, 'NULL')} AS {sql_type(c.type)}) AS `{c.name}`"
        for c in spec.columns
    ]  # fmt: skip
    return rows.selectExpr(*made)

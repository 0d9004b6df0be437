"""Read a source table and give its columns the names and types the package uses.

Everything is said in SQL expressions, so this module needs no Spark to be imported or tested.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.catalog.addresses import redact
from vlm4rec_spark.errors import SourceError, near

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from vlm4rec_spark.config import Config
    from vlm4rec_spark.config_models import Source

IDS = ("item_id", "user_id")
NUMBERS = ("price", "rating")
TIMES = ("timestamp", "first_seen")
"""Canonical columns by how they are cast; `available` is a boolean, the others are strings."""

YES = ("true", "t", "yes", "y", "1", "in stock", "in_stock", "instock", "available")
"""Texts that mean available, in any case; another text means not, no text means available."""

MILLISECONDS_FROM = 1e11
"""A numeric time above this is taken as milliseconds since 1970 (as seconds: the year 5138)."""

_INTEGER = re.compile(r"tinyint|smallint|int|bigint|decimal\(\d+,0\)")
_NUMERIC = re.compile(r"tinyint|smallint|int|bigint|float|double|decimal\(\d+,\d+\)")
_CSV_DEFAULTS = {"header": "true", "escape": '"'}


def read_source(spark: SparkSession, source: Source) -> DataFrame:
    """Read a source with its canonical columns, in the order of the configuration.

    Ids are strings, null where blank; `price` and `rating` are doubles, null where they are no
    number; times are timestamps (numbers count as seconds, or milliseconds, since 1970);
    `available` is never null; `attributes` is a map<string,string> of the free columns; `image` is
    an array<string> or an array<binary>. Columns mapped to null are left out.

    Raises:
        SourceError: the source cannot be read, or lacks a mapped column.
    """
    return _read(spark, source, source.columns.model_dump())  # type: ignore[attr-defined]


def read_items(spark: SparkSession, config: Config) -> DataFrame:
    """Read the catalogue; every column of `items`, and `image`, is there, null where not mapped.

    Rows are as in the source: null and repeated ids are still among them (see `unique`).

    Raises:
        SourceError: the catalogue cannot be read, or lacks a mapped column.
    """
    source = config.sources.items
    columns = source.columns.model_dump()
    if config.images.kind == "directory" and "image" not in source.columns.model_fields_set:
        columns["image"] = columns["item_id"]
    items = _read(spark, source, columns)
    absent = {
        "title": "STRING",
        "category": "STRING",
        "brand": "STRING",
        "price": "DOUBLE",
        "variant_group": "STRING",
        "first_seen": "TIMESTAMP",
        "image": "ARRAY<STRING>",
    }
    missing = [f"CAST(NULL AS {t}) AS {n}" for n, t in absent.items() if n not in items.columns]
    if "available" not in items.columns:
        missing.append("TRUE AS available")
    return items.selectExpr("*", *missing)


def count_ids(items: DataFrame) -> dict[str, int]:
    """Return how many rows there are, how many have no id, and how many repeat an id."""
    row = items.selectExpr(
        "COUNT(*) AS n_rows",
        "COUNT_IF(item_id IS NULL) AS null_ids",
        "COUNT(item_id) - COUNT(DISTINCT item_id) AS duplicate_ids",
    ).first()
    return {name: int(row[name]) for name in row.asDict()} if row is not None else {}


def unique(items: DataFrame, *, has_duplicates: bool = True) -> DataFrame:
    """Drop rows without id, and all but the first row of an id.

    Tables have no order of their own: the first row is the one with the smallest digest of its
    content, the same in every run and for any number of partitions. Saying that there are no
    duplicates saves a shuffle of all rows, pictures included.
    """
    known = items.where("item_id IS NOT NULL")
    if not has_duplicates:
        return known
    parts = [f"`{n}`" for n in items.columns if n != "image"]
    is_bytes = dict(items.dtypes).get("image") == "array<binary>"
    parts.append("TRANSFORM(image, x -> SHA2(x, 256))" if is_bytes else "image")
    digest = f"SHA2(TO_JSON(STRUCT({', '.join(parts)})), 256)"
    rank = f"ROW_NUMBER() OVER (PARTITION BY item_id ORDER BY {digest}) AS __rank"
    return known.selectExpr("*", rank).where("__rank = 1").drop("__rank")


def explode_pictures(items: DataFrame) -> DataFrame:
    """Return `item_id, position, uri, content`: a row per picture, position from 0.

    One of `uri` and `content` is null; an item without a picture has a row where both are.
    """
    is_bytes = dict(items.dtypes)["image"] == "array<binary>"
    rows = items.selectExpr("item_id", "POSEXPLODE_OUTER(image) AS (place, picture)")
    return rows.selectExpr(
        "item_id",
        "CAST(COALESCE(place, 0) AS INT) AS position",
        "CAST(NULL AS STRING) AS uri" if is_bytes else "picture AS uri",
        "picture AS content" if is_bytes else "CAST(NULL AS BINARY) AS content",
    )


def expressions(seen: Mapping[str, str], columns: Mapping[str, Any], where: str) -> list[str]:
    """Return the SQL expressions that make canonical columns out of a source's columns.

    Args:
        seen: source column -> Spark type in its short form.
        columns: canonical column -> source column, list of them, or None.
        where: how the source is called in messages, for example 'sources.items'.

    Raises:
        SourceError: with every missing column and every type that does not fit.
    """
    mistakes: list[str] = []
    made: list[str] = []
    for name, mapped in columns.items():
        if mapped is None or (mapped == () and name != "attributes"):
            continue
        wanted = [mapped] if isinstance(mapped, str) else list(mapped)
        found = [_found(seen, column) for column in wanted]
        mistakes += [
            f"column '{column}' (mapped to {name}) is missing{near(column, seen)}"
            for column, there in zip(wanted, found, strict=True)
            if there is None
        ]
        present = [(there, seen[there]) for there in found if there is not None]
        if len(present) == len(wanted):
            sql, mistake = _expression(name, present)
            made.append(f"{sql} AS `{name}`")
            mistakes += [mistake] if mistake else []
    if mistakes:
        raise SourceError(
            f"{where}: " + "; ".join(mistakes) + f". The source has: {', '.join(seen)}. "
            f"Set {where}.columns in the configuration."
        )
    return made


def _read(spark: SparkSession, source: Source, columns: Mapping[str, Any]) -> DataFrame:
    where = "sources.interactions" if "user_id" in columns else "sources.items"
    options = dict(_CSV_DEFAULTS) if source.format == "csv" else {}
    options.update({k: str(v) for k, v in source.options.items()})
    reader = spark.read.options(**options)
    try:
        if source.table:
            frame = reader.table(source.table)
        else:
            frame = reader.format(source.format).load(source.path)
        seen = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    except Exception as error:
        # Spark's own errors differ between Classic and Connect; each is one sentence to the user.
        place = redact(source.table or source.path or "its options")
        reason = redact(str(error).strip().partition("\n")[0])[:300]
        raise SourceError(f"{where}: cannot read {source.format} from {place}: {reason}") from error
    return frame.selectExpr(*expressions(seen, columns, where))


def _found(seen: Mapping[str, str], column: str) -> str | None:
    """Return the source's own spelling of a column: exact, else the only one but for case."""
    if column in seen:
        return column
    alike = [name for name in seen if name.lower() == column.lower()]
    return alike[0] if len(alike) == 1 else None


def _expression(name: str, columns: list[tuple[str, str]]) -> tuple[str, str | None]:
    """Return the SQL for one canonical column, and what is wrong with the source's type."""
    if name == "attributes":
        return _attributes(columns), None
    if name == "image":
        return _image(columns)
    column, kind = columns[0]
    sql = _quoted(column)
    if name in IDS:
        fits = kind == "string" or kind.startswith(("char", "varchar")) or _INTEGER.fullmatch(kind)
        text = f"CAST({sql} AS STRING)"
        mistake = f"column '{column}' is {kind}; an id is a string or an integer"
        return f"IF(TRIM({text}) = '', NULL, {text})", None if fits else mistake
    return _value(name, sql, kind), None


def _value(name: str, sql: str, kind: str) -> str:
    if name in NUMBERS:
        return f"TRY_CAST({sql} AS DOUBLE)"
    if name in TIMES:
        return _time(sql, kind)
    if name == "available":
        return _available(sql, kind)
    return f"NULLIF(TRIM({_text(sql, kind)}), '')"


def _time(sql: str, kind: str) -> str:
    number = f"TRY_CAST({sql} AS DOUBLE)"
    scale = f"IF(ABS({number}) > {MILLISECONDS_FROM}D, 1000D, 1D)"
    epoch = f"CAST({number} / {scale} AS TIMESTAMP)"
    if _NUMERIC.fullmatch(kind):
        return epoch
    if kind in ("timestamp", "timestamp_ntz", "date"):
        return f"CAST({sql} AS TIMESTAMP)"
    return f"COALESCE(TRY_CAST({sql} AS TIMESTAMP), {epoch})"


def _available(sql: str, kind: str) -> str:
    if kind == "boolean":
        return f"COALESCE({sql}, TRUE)"
    if _NUMERIC.fullmatch(kind):
        return f"COALESCE({sql} > 0, TRUE)"
    words = ", ".join(f"'{word}'" for word in YES)
    text = f"NULLIF(LOWER(TRIM(CAST({sql} AS STRING))), '')"
    return f"COALESCE({text} IN ({words}) OR TRY_CAST({text} AS DOUBLE) > 0, {text} IS NULL)"


def _attributes(columns: list[tuple[str, str]]) -> str:
    pairs = ", ".join(f"{_literal(n)}, {_text(_quoted(n), k)}" for n, k in columns)
    made = f"CAST(MAP({pairs}) AS MAP<STRING, STRING>)"
    return f"MAP_FILTER({made}, (k, v) -> v IS NOT NULL AND TRIM(v) <> '')"


def _image(columns: list[tuple[str, str]]) -> tuple[str, str | None]:
    """Return an array of all pictures of a row, and a complaint about columns that do not fit."""
    kinds = {kind.removeprefix("array<").removesuffix(">") for _, kind in columns}
    words = ", ".join(f"'{name}' is {kind}" for name, kind in columns)
    if len(kinds) > 1 or not kinds <= {"string", "binary", *filter(_INTEGER.fullmatch, kinds)}:
        expected = "expected text or bytes (or arrays of one of them), the same in all columns"
        return "NULL", f"the image column(s): {words}; {expected}"
    inner = "BINARY" if kinds == {"binary"} else "STRING"
    arrays = []
    for name, kind in columns:
        sql = _quoted(name)
        # A null array adds nothing; a null beside other pictures keeps their positions.
        whole = f"COALESCE({sql}, ARRAY())" if kind.startswith("array<") else f"ARRAY({sql})"
        arrays.append(f"CAST({whole} AS ARRAY<{inner}>)")
    return (arrays[0] if len(arrays) == 1 else f"CONCAT({', '.join(arrays)})"), None


def _text(sql: str, kind: str) -> str:
    """Return SQL that makes any column one line of text."""
    if kind == "array<string>":
        return f"ARRAY_JOIN({sql}, ', ')"
    if kind.startswith(("array<", "map<", "struct<")):
        return f"TO_JSON({sql})"
    return f"CAST({sql} AS STRING)"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

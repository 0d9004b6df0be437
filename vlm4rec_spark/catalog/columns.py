"""Give a source's columns the names and types the package uses, as SQL expressions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.errors import SourceError, near

if TYPE_CHECKING:
    from collections.abc import Mapping

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

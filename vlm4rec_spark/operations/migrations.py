"""Bring tables that an earlier version made to what this version writes, as explicit ALTERs.

What is to be done follows from `tables.py` and the stored tables alone: a missing column is added,
a constraint that reads differently is replaced, comments are brought up to date. Nothing else is
ever altered: a column of another type is told, not cast.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from vlm4rec_spark import delta
from vlm4rec_spark.catalog.plan import INCOMING_IMAGES, INCOMING_ITEMS
from vlm4rec_spark.descriptions.duplicates import FOLLOWERS
from vlm4rec_spark.descriptions.plan import QUEUE
from vlm4rec_spark.errors import SchemaError
from vlm4rec_spark.table_spec import TableSpec, quoted, sql_type
from vlm4rec_spark.tables import ALL_TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

logger = logging.getLogger(__name__)
_CONSTRAINT = "delta.constraints."
STORED = (*ALL_TABLES, INCOMING_ITEMS, INCOMING_IMAGES, QUEUE, FOLLOWERS)
"""Every table of ours, working tables too."""


def pending(
    spark: SparkSession, names: TableNames, specs: Sequence[TableSpec] = STORED
) -> list[str]:
    """Return the statements that bring the stored tables to this version, in order.

    Tables that are not there yet need none: they are made when they are first written.

    Raises:
        SchemaError: a stored column has another type, which no ALTER mends.
    """
    statements: list[str] = []
    wrong: list[str] = []
    for spec in specs:
        if not delta.table_exists(spark, spec, names):
            continue
        qualified = names.qualified(spec)
        stored = {
            field.name: (field.dataType.simpleString(), field.metadata.get("comment"))
            for field in spark.table(qualified).schema.fields
        }
        wrong += _other_types(spec, stored)
        statements += _column_statements(spec, qualified, stored)
        detail = spark.sql(f"DESCRIBE DETAIL {qualified}").select("properties").collect()[0]
        statements += _constraint_statements(spec, qualified, detail["properties"])
    if wrong:
        raise SchemaError(
            "These columns have another type than this version writes, and no ALTER changes that: "
            + "; ".join(wrong)
            + ". Rename the table, run the jobs again, and copy over what you need."
        )
    return statements


def migrate(
    spark: SparkSession, names: TableNames, specs: Sequence[TableSpec] = STORED
) -> list[str]:
    """Run what `pending` returns, and return it. Run again after a crash: it goes on."""
    statements = pending(spark, names, specs)
    for statement in statements:
        logger.info("migrate: %s", statement)
        spark.sql(statement)
    return statements


def _other_types(spec: TableSpec, stored: dict[str, tuple[str, str | None]]) -> list[str]:
    expected = {c.name: _short(sql_type(c.type)) for c in spec.columns}
    return [
        f"{spec.name}.{name} is {kind}, expected {expected[name]}"
        for name, (kind, _) in stored.items()
        if name in expected and kind != expected[name]
    ]


def _short(kind: str) -> str:
    """Return a SQL type in the form Spark names it: 'ARRAY<FLOAT>' is 'array<float>'."""
    return kind.lower().replace(", ", ",").replace(": ", ":")


def _column_statements(
    spec: TableSpec, qualified: str, stored: dict[str, tuple[str, str | None]]
) -> list[str]:
    statements = []
    for column in spec.columns:
        name, comment = f"`{column.name}`", quoted(column.comment)
        if column.name not in stored:
            kind = sql_type(column.type)
            statements.append(
                f"ALTER TABLE {qualified} ADD COLUMNS ({name} {kind} COMMENT {comment})"
            )
        elif stored[column.name][1] != column.comment:
            statements.append(f"ALTER TABLE {qualified} ALTER COLUMN {name} COMMENT {comment}")
    return statements


def _constraint_statements(
    spec: TableSpec, qualified: str, properties: dict[str, str]
) -> list[str]:
    statements = []
    added = spec.constraint_statements(qualified)
    for (name, condition), statement in zip(spec.constraints, added, strict=True):
        there = properties.get(_CONSTRAINT + name)
        if there is not None and _words(there) == _words(condition):
            continue
        if there is not None:
            statements.append(f"ALTER TABLE {qualified} DROP CONSTRAINT {name}")
        statements.append(statement)
    return statements


def _words(condition: str) -> list[str]:
    return re.findall(r"'[^']*'|\w+|[^\s\w]", condition)

"""What Spark's JDBC reader is told, and the question for the range of the partition column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vlm4rec_spark.errors import ConfigError

if TYPE_CHECKING:
    from vlm4rec_spark.config_inputs import Source

POSTGRES_DRIVER = "org.postgresql:postgresql:42.7.7"
"""Maven coordinate of the driver; Databricks runtimes bring one."""

_NAME = r'(?:[A-Za-z_][\w$]*|"[^"]+")'
_TABLE = re.compile(rf"{_NAME}(?:\.{_NAME}){{0,2}}")


def drivers(config_text: str) -> tuple[str, ...]:
    """Return the Maven coordinates of the JDBC drivers that a configuration needs.

    >>> drivers("{url: 'jdbc:postgresql://db/shop'}")
    ('org.postgresql:postgresql:42.7.7',)
    """
    return (POSTGRES_DRIVER,) if "jdbc:postgresql:" in config_text else ()


def range_query(source: Source, where: str) -> str:
    """Return the query for the lowest and the highest value of the partition column.

    Names go into SQL only when they are names: letters, digits, underscores, or quoted.

    Raises:
        ConfigError: the table or the column is not a plain name.
    """
    table, column = source.table or "", source.partitions.column if source.partitions else ""
    if not _TABLE.fullmatch(table):
        raise ConfigError(f"{where}.table: '{table}' is not a table's name (schema.table).")
    if not re.fullmatch(_NAME, column):
        raise ConfigError(f"{where}.partitions.column: '{column}' is not a column's name.")
    # Both were just held to the form of a name.
    return f"SELECT MIN({column}) AS low, MAX({column}) AS high FROM {table}"  # noqa: S608


def partition_options(
    source: Source, bounds: Mapping[str, str | None], low: str | None = None
) -> dict[str, str]:
    """Return the options of a parallel read.

    Args:
        source: with `partitions`.
        bounds: `low` and `high` as text; null for an empty table.
        low: start of what is wanted, where only the newest rows are; wins over `bounds`.

    Returns:
        No options for an empty table: one read finds out that there is nothing.
    """
    if source.partitions is None or bounds["low"] is None or bounds["high"] is None:
        return {}
    return {
        "partitionColumn": source.partitions.column.strip('"'),
        "lowerBound": low or bounds["low"],
        "upperBound": bounds["high"],
        "numPartitions": str(source.partitions.count),
    }

"""Reading the tables that a soaked job leaves, without Spark."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from deltalake import DeltaTable


def rows(table: Path, *columns: str) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    found: list[dict[str, Any]] = (
        DeltaTable(str(table)).to_pyarrow_table(columns=list(columns)).to_pylist()
    )
    return found


def twice(table: Path, *columns: str) -> int:
    """Return how many values of these columns more than one row has."""
    seen = Counter(tuple(row.values()) for row in rows(table, *columns))
    return sum(n > 1 for n in seen.values())

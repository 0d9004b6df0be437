"""The SQL that brings a table to the rows of another one."""

from __future__ import annotations

import pyarrow as pa

from vlm4rec_spark.tables import VOLATILE, TableSpec


def merge_statement(
    spec: TableSpec, qualified: str, source: str, *, delete_missing: bool = False
) -> str:
    """Return the MERGE that updates only the rows that differ."""
    update = f"WHEN MATCHED AND NOT ({_same(spec)}) THEN UPDATE SET *\n"
    delete = "WHEN NOT MATCHED BY SOURCE THEN DELETE" if delete_missing else ""
    return (
        f"MERGE INTO {qualified} t USING {source} s ON {_on(spec)}\n{update}"
        f"WHEN NOT MATCHED THEN INSERT *\n{delete}"
    )


def difference_query(
    spec: TableSpec, qualified: str, source: str, *, delete_missing: bool = False
) -> str:
    """Return the query that yields one row when the merge would write anything, else none."""
    key = spec.key[0]
    join = "FULL OUTER" if delete_missing else "LEFT"
    return (  # names come from the specs and the configuration, rows never enter the text
        f"SELECT 1 FROM {source} s {join} JOIN {qualified} t ON {_on(spec)} "  # noqa: S608
        f"WHERE s.`{key}` IS NULL OR t.`{key}` IS NULL OR NOT ({_same(spec)}) LIMIT 1"
    )


def _on(spec: TableSpec) -> str:
    return " AND ".join(f"t.`{name}` = s.`{name}`" for name in spec.key)


def _same(spec: TableSpec) -> str:
    compared = [c for c in spec.columns if c.name not in VOLATILE and c.name not in spec.key]
    pairs = (
        f"{_comparable('t', c.name, c.type)} <=> {_comparable('s', c.name, c.type)}"
        for c in compared
    )
    return " AND ".join(pairs) or "TRUE"


def _comparable(side: str, name: str, kind: pa.DataType) -> str:
    """Return the column in a form SQL can compare: maps have no equality in Spark."""
    column = f"{side}.`{name}`"
    return f"array_sort(map_entries({column}))" if pa.types.is_map(kind) else column

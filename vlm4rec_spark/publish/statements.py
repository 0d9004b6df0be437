"""The SQL of a published table; the driver puts in `{table}`, `{staging}` and `{schema}`, quoted.

Column names come from `PUBLISHED`, never from a configuration or a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm4rec_spark.publish.published import PublishedTable


def create(table: PublishedTable) -> tuple[str, ...]:
    """Return the statements that make the table, its staging table and its indexes."""
    columns = ", ".join(f"{name} {kind}" for name, kind in table.columns)
    key = f"PRIMARY KEY ({', '.join(table.key)})"
    return (
        f"CREATE TABLE IF NOT EXISTS {{table}} ({columns}, {key})",
        f"CREATE UNLOGGED TABLE IF NOT EXISTS {{staging}} ({columns}, slice int, {key})",
        *(
            f"CREATE INDEX IF NOT EXISTS {table.name}_{'_'.join(index)} "
            f"ON {{table}} ({', '.join(index)})"
            for index in table.indexes
        ),
    )


def delete_gone(table: PublishedTable) -> str:
    """Return the statement that deletes the rows whose key was not staged."""
    same = " AND ".join(f"s.{name} = t.{name}" for name in table.key)
    return f"DELETE FROM {{table}} t WHERE NOT EXISTS (SELECT FROM {{staging}} s WHERE {same})"


def upsert(table: PublishedTable) -> str:
    """Return the statement that inserts what is new and updates what differs.

    Like in the lakehouse, a row is not rewritten because another run made it again.
    """
    columns = ", ".join(table.column_names)
    others = [name for name in table.column_names if name not in table.key]
    compared = [name for name in others if name != "run_id"]
    return (
        f"INSERT INTO {{table}} AS t ({columns}) SELECT {columns} FROM {{staging}} "
        f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET "
        + ", ".join(f"{name} = EXCLUDED.{name}" for name in others)
        + f" WHERE ({', '.join(f't.{name}' for name in compared)}) IS DISTINCT FROM "
        f"({', '.join(f'EXCLUDED.{name}' for name in compared)})"
    )


def count_where(column: str) -> str:
    """Return the query for the number of rows with a value."""
    return f"SELECT count(*) FROM {{table}} WHERE {column} = %s"


def delete_where(which: str, column: str) -> str:
    """Return the statement that deletes the rows with a value; `which` is table or staging."""
    return f"DELETE FROM {{{which}}} WHERE {column} = %s"

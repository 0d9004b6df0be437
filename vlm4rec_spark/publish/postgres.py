"""The database's side: staging tables, how far a run came, and one transaction at the end.

Rows are brought into unlogged staging tables by Spark, slice by slice. When all are there, one
transaction deletes what is gone, updates what differs and inserts what is new: a reader sees the
lists of the run before or those of this one, is never blocked, and keeps its grants and indexes.
After a crash of the server unlogged tables are empty, the record of progress among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from vlm4rec_spark.credentials import hidden, resolved
from vlm4rec_spark.errors import MissingExtraError, PublishError
from vlm4rec_spark.publish.statements import (
    count_where,
    create,
    delete_gone,
    delete_where,
    upsert,
)

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Composed

    from vlm4rec_spark.config_publish import PostgresConfig
    from vlm4rec_spark.publish.published import PublishedTable

_LIBPQ_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout")
"""What the address of a JDBC driver and libpq call by the same name."""
_LOCK = 0x766C6D3472656300
"""Advisory lock of the database: one publication at a time."""


class PostgresTarget:
    """One database; use `connected`."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema

    def prepare(self, table: PublishedTable) -> None:
        """Make the table, its staging table and the two records where they are missing."""
        self._run("CREATE SCHEMA IF NOT EXISTS {schema}")
        self._run(
            "CREATE TABLE IF NOT EXISTS {schema}.publications (run_id text, table_name text, "
            "state text, row_count bigint, published_at timestamptz DEFAULT now(), "
            "PRIMARY KEY (run_id, table_name))"
        )
        self._run(
            "CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.publish_progress (table_name text, "
            "state text, slices int, slice int, PRIMARY KEY (table_name, slice))"
        )
        for statement in create(table):
            self._run(statement, table)

    def published_state(self, table: PublishedTable) -> str | None:
        """Return what the table was made from when it was last published."""
        found = self._run(
            "SELECT state FROM {schema}.publications WHERE table_name = %s "
            "ORDER BY published_at DESC LIMIT 1",
            values=(table.name,),
        ).fetchone()
        return str(found[0]) if found else None

    def loaded_slices(self, table: PublishedTable, state: str, slices: int) -> set[int]:
        """Return the slices that an earlier attempt brought over.

        What it brought of another state of the source is thrown away.
        """
        rows = self._run(
            "SELECT state, slices, slice FROM {schema}.publish_progress WHERE table_name = %s",
            values=(table.name,),
        ).fetchall()
        if any((row[0], row[1]) != (state, slices) for row in rows) or not rows:
            with self._connection.transaction():
                self._clear(table)
            return set()
        return {row[2] for row in rows}

    def begin_slice(self, table: PublishedTable, number: int) -> None:
        """Throw away what an attempt that died left of the slice."""
        self._run("DELETE FROM {staging} WHERE slice = %s", table, (number,))

    def end_slice(self, table: PublishedTable, state: str, slices: int, number: int) -> None:
        """Remember that the slice is there."""
        self._run(
            "INSERT INTO {schema}.publish_progress VALUES (%s, %s, %s, %s)",
            values=(table.name, state, slices, number),
        )

    def row_counts(self, table: PublishedTable) -> tuple[int, int]:
        """Return the rows in force and the rows brought over."""
        row = self._run("SELECT (SELECT count(*) FROM {table}), (SELECT count(*) FROM {staging})",
                        table).fetchone()  # fmt: skip
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def put_in_force(self, run_id: str, states: Mapping[PublishedTable, str]) -> dict[str, int]:
        """Bring all tables to what was staged, in one transaction.

        Returns:
            rows and changed (inserted, updated or deleted) of each table, as `TABLE_rows`.
        """
        for table in states:
            self._run("ANALYZE {staging}", table)
        counts: dict[str, int] = {}
        with self._connection.transaction():
            for table, state in states.items():
                counts[f"{table.name}_rows"] = rows = self.row_counts(table)[1]
                counts[f"{table.name}_changed"] = self._replace(table)
                self._run(
                    "INSERT INTO {schema}.publications (run_id, table_name, state, row_count) "
                    "VALUES (%s, %s, %s, %s) ON CONFLICT (run_id, table_name) DO UPDATE SET "
                    "state = EXCLUDED.state, row_count = EXCLUDED.row_count, published_at = now()",
                    values=(run_id, table.name, state, rows),
                )
                self._clear(table)
        return counts

    def count(self, table: PublishedTable, column: str, value: str) -> int:
        """Count the rows in force with a value."""
        if not self._exists(table):
            return 0
        row = self._run(count_where(column), table, (value,)).fetchone()
        return int(row[0]) if row else 0

    def forget(self, table: PublishedTable, column: str, value: str) -> int:
        """Delete a person's rows, staged ones too; return how many were in force."""
        if not self._exists(table):
            return 0
        self._run(delete_where("staging", column), table, (value,))
        return self._run(delete_where("table", column), table, (value,)).rowcount

    def _exists(self, table: PublishedTable) -> bool:
        row = self._run(
            "SELECT to_regclass(%s)", values=(f"{_quoted(self._schema)}.{_quoted(table.name)}",)
        ).fetchone()
        return bool(row and row[0])

    def _replace(self, table: PublishedTable) -> int:
        gone = self._run(delete_gone(table), table).rowcount
        return gone + self._run(upsert(table), table).rowcount

    def _clear(self, table: PublishedTable) -> None:
        self._run("TRUNCATE {staging}", table)
        self._run(
            "DELETE FROM {schema}.publish_progress WHERE table_name = %s", values=(table.name,)
        )

    def _run(
        self, text: str, table: PublishedTable | None = None, values: tuple[Any, ...] = ()
    ) -> psycopg.Cursor[Any]:
        """Run a statement; names are quoted by the driver, values never enter the text."""
        return self._connection.execute(self._composed(text, table), values)

    def _composed(self, text: str, table: PublishedTable | None) -> Composed:
        from psycopg.sql import SQL, Identifier

        names = {"schema": Identifier(self._schema)}
        if table is not None:
            names["table"] = Identifier(self._schema, table.name)
            names["staging"] = Identifier(self._schema, staging_name(table))
        # The text holds our own words and the column names of PUBLISHED.
        return SQL(text).format(**names)


def staging_name(table: PublishedTable) -> str:
    """Return the name of the table that Spark writes to."""
    return f"staging_{table.name}"


def jdbc_options(config: PostgresConfig, table: PublishedTable) -> dict[str, str]:
    """Return the options with which Spark appends to the staging table."""
    options = {
        "url": config.url or "",
        "dbtable": f"{_quoted(config.schema_name)}.{_quoted(staging_name(table))}",
        "user": config.user,
        "driver": "org.postgresql.Driver",
        "batchsize": str(config.batch_rows),
        "numPartitions": str(config.connections),
        # Text may become jsonb where the column is of that type.
        "stringtype": "unspecified",
        "reWriteBatchedInserts": "true",
    }
    return options | ({"password": resolved(config.password)} if config.password else {})


@contextmanager
def connected(config: PostgresConfig) -> Iterator[PostgresTarget]:
    """Connect, and hold the database's lock for publications.

    Raises:
        MissingExtraError: psycopg is not installed.
        PublishError: the database cannot be reached or another publication runs.
    """
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtraError("psycopg", "publish") from error
    password = resolved(config.password) if config.password else None
    try:
        with psycopg.connect(
            **libpq_parameters(config.url or ""), user=config.user, password=password,
            autocommit=True, application_name="vlm4rec publish",
        ) as connection:  # fmt: skip
            got = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
            if not got or not got[0]:
                raise PublishError(
                    "Another publication into this database is running; wait for its end."
                )
            yield PostgresTarget(connection, config.schema_name)
    except psycopg.Error as error:
        reason = hidden(" ".join(str(error).split()), [password or ""])
        raise PublishError(
            f"PostgreSQL refused: {reason}. Check publish.postgres (url, user, password), and that "
            "the role may create in the schema."
        ) from None


def libpq_parameters(url: str) -> dict[str, Any]:
    """Return what psycopg is told, from the address of the JDBC driver.

    >>> libpq_parameters("jdbc:postgresql://db.shop:5433/recs?sslmode=require&ApplicationName=x")
    {'host': 'db.shop', 'port': '5433', 'dbname': 'recs', 'sslmode': 'require'}
    """
    parts = urlsplit(url.removeprefix("jdbc:"))
    places = [place.rpartition(":") for place in parts.netloc.rpartition("@")[2].split(",")]
    hosts = [host or port for host, _, port in places]
    ports = [port if host else "5432" for host, _, port in places]
    options = {k: v[-1] for k, v in parse_qs(parts.query).items() if k in _LIBPQ_OPTIONS}
    return {"host": ",".join(hosts), "port": ",".join(ports), "dbname": parts.path[1:], **options}


def state_text(versions: Mapping[str, str]) -> str:
    """Return the state of the source tables as one comparable text."""
    return json.dumps(dict(versions), sort_keys=True)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

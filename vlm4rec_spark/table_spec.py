"""What a table is, as data: its DDL and its Arrow schema come from one description."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TEXT = pa.string()
INT = pa.int32()
LONG = pa.int64()
DOUBLE = pa.float64()
FLAG = pa.bool_()
MOMENT = pa.timestamp("us", tz="UTC")

_SQL_TYPES = {
    TEXT: "STRING",
    INT: "INT",
    LONG: "BIGINT",
    DOUBLE: "DOUBLE",
    pa.float32(): "FLOAT",
    pa.binary(): "BINARY",
    FLAG: "BOOLEAN",
    MOMENT: "TIMESTAMP",
}


def sql_type(kind: pa.DataType) -> str:
    """Return the Spark SQL name of an Arrow type.

    >>> sql_type(pa.list_(pa.float32()))
    'ARRAY<FLOAT>'
    """
    if pa.types.is_list(kind):
        return f"ARRAY<{sql_type(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"MAP<{sql_type(kind.key_type)}, {sql_type(kind.item_type)}>"
    if pa.types.is_struct(kind):
        inner = ", ".join(f"{field.name}: {sql_type(field.type)}" for field in kind)
        return f"STRUCT<{inner}>"
    return _SQL_TYPES[kind]


def schema_ddl(schema: pa.Schema) -> str:
    """Return 'a STRING, b INT' as mapInArrow takes it.

    >>> schema_ddl(pa.schema([("a", pa.string()), ("b", pa.int32())]))
    '`a` STRING, `b` INT'
    """
    return ", ".join(f"`{field.name}` {sql_type(field.type)}" for field in schema)


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: pa.DataType
    comment: str
    nullable: bool = True


@dataclass(frozen=True)
class TableSpec:
    """One table: its columns, its key, and what always holds."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    cluster_by: tuple[str, ...]
    constraints: tuple[tuple[str, str], ...]
    comment: str
    by_many: bool = False
    """Jobs that run at the same time write it; every other table has one job that does."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns in order."""
        return tuple(column.name for column in self.columns)

    def arrow_schema(self, *names: str) -> pa.Schema:
        """Return the Arrow schema of all columns, or of those named, in the order named."""
        by_name = {c.name: pa.field(c.name, c.type, c.nullable) for c in self.columns}
        return pa.schema([by_name[name] for name in names or self.column_names])

    def spark_ddl(self, *names: str) -> str:
        """Return 'a STRING, b INT' of all columns or of those named, as mapInArrow takes it."""
        return schema_ddl(self.arrow_schema(*names))

    def create_statement(
        self, qualified: str, location: str | None = None, *, with_checks: bool = False
    ) -> str:
        """Return CREATE TABLE IF NOT EXISTS with comments, clustering and the change feed.

        Args:
            qualified: quoted name.
            location: folder of the files; None leaves it to the metastore.
            with_checks: put the constraints into the table properties, one commit for all. Open
                source Delta takes them; elsewhere `constraint_statements` is the documented way.
        """
        lines = [
            f"  `{c.name}` {sql_type(c.type)}{'' if c.nullable else ' NOT NULL'}"
            f" COMMENT {quoted(c.comment)}"
            for c in self.columns
        ]
        properties = {"delta.enableChangeDataFeed": "true"}
        if with_checks:
            properties |= {f"delta.constraints.{n}": check for n, check in self.constraints}
        listed = ", ".join(f"{quoted(k)} = {quoted(v)}" for k, v in properties.items())
        parts = [
            f"CREATE TABLE IF NOT EXISTS {qualified} (\n" + ",\n".join(lines) + "\n)",
            "USING DELTA",
            f"CLUSTER BY ({', '.join(self.cluster_by)})",
            f"LOCATION {quoted(location)}" if location else "",
            f"COMMENT {quoted(self.comment)}",
            f"TBLPROPERTIES ({listed})",
        ]
        return "\n".join(part for part in parts if part)

    def constraint_statements(self, qualified: str) -> tuple[str, ...]:
        """Return one ALTER TABLE ... CHECK statement per constraint."""
        return tuple(
            f"ALTER TABLE {qualified} ADD CONSTRAINT {name} CHECK ({condition})"
            for name, condition in self.constraints
        )


def quoted(text: str) -> str:
    """Return the text as a SQL literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def table(
    name: str,
    comment: str,
    key: str,
    *columns: Column,
    checks: tuple[tuple[str, str], ...] = (),
    cluster_by: str = "",
    by_many: bool = False,
) -> TableSpec:
    """Build a spec; key columns are never null, and the table is clustered by them."""
    keys = tuple(key.split())
    fixed = tuple(Column(c.name, c.type, c.comment, c.name not in keys) for c in columns)
    # Delta clusters by four columns at most and collects no statistics on nested ones.
    clustered = tuple(cluster_by.split()) or keys[:4]
    return TableSpec(name, fixed, keys, clustered, checks, comment, by_many)


def one_of(column: str, *values: str) -> tuple[str, str]:
    """Return the name and the text of a constraint: the column holds one of the values."""
    listed = ", ".join(quoted(value) for value in values)
    return (f"{column}_known", f"{column} IN ({listed})")

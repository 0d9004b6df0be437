"""What Unity Catalog keeps beside a table: its primary key and its tags. Statements only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm4rec_spark.table_spec import quoted

if TYPE_CHECKING:
    from vlm4rec_spark.table_spec import TableSpec

PERSONAL = ("user_id",)
"""Columns that name a person."""


def unity_statements(spec: TableSpec, qualified: str) -> tuple[str, ...]:
    """Return the statements that declare the key and tag the table.

    The key is informational there: Unity Catalog does not hold it unique, `vlm4rec maintain` checks
    it. Tags tell who looks for personal data where it is.
    """
    personal = [name for name in PERSONAL if name in spec.column_names]
    tags = {"product": "vlm4rec-spark", **({"personal_data": "yes"} if personal else {})}
    listed = ", ".join(f"{quoted(key)} = {quoted(value)}" for key, value in tags.items())
    key = ", ".join(f"`{name}`" for name in spec.key)
    declared = f"ALTER TABLE {qualified} ADD CONSTRAINT {spec.name}_key PRIMARY KEY ({key})"
    return (
        *((declared,) if spec.key else ()),
        f"ALTER TABLE {qualified} SET TAGS ({listed})",
        *(
            f"ALTER TABLE {qualified} ALTER COLUMN `{name}` SET TAGS ('personal_data' = 'yes')"
            for name in personal
        ),
    )

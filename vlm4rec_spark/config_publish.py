"""The configuration of `publish`: which tables go where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from vlm4rec_spark.config_inputs import Model, Positive, Share, Text
from vlm4rec_spark.credentials import is_reference

PublishedName = Literal[
    "recommendations", "similar_items", "complements", "item_attributes", "item_features"
]
JDBC_PREFIX = "jdbc:postgresql://"


def _reference(value: str) -> str:
    if not is_reference(value):
        # The value itself is never told.
        raise ValueError("give ${env:NAME} or ${secret:SCOPE/KEY}, never the password itself")
    return value


class PostgresConfig(Model):
    """A PostgreSQL database that the shop reads."""

    url: Annotated[Text, Field(pattern=f"^{JDBC_PREFIX}")] | None = None
    """`jdbc:postgresql://HOST:PORT/DATABASE?sslmode=require`; null: not published there."""
    user: Text = "vlm4rec"
    """Role that owns the schema; the shop's own role needs SELECT only."""
    password: Annotated[str, AfterValidator(_reference)] | None = None
    """`${env:NAME}` or `${secret:SCOPE/KEY}`; null where the server trusts the client."""
    schema_name: Text = Field(default="vlm4rec", alias="schema")
    """Schema of the tables; made when missing. The key in YAML is `schema`."""
    slices: Positive = 8
    """Parts in which a table is brought over; a run that dies goes on behind the last one."""
    connections: Positive = 4
    """Connections that write at a time."""
    batch_rows: Positive = 5000
    """Rows a statement carries."""
    max_shrink: Share = 0.5
    """Refuse when a table would lose more than this share of its rows."""


class FilesConfig(Model):
    """Files for whoever reads neither Delta nor a database."""

    folder: Text | None = None
    """Folder or volume path; null: no files. One folder per run; `latest.json` names the newest."""
    formats: tuple[Literal["parquet", "jsonl"], ...] = ("parquet",)
    """parquet keeps rows as they are; jsonl has one line per user or item, its list inside."""
    keep: Positive = 2
    """Runs kept; older folders are deleted."""
    preview: bool = False
    """Also write what `vlm4rec preview --copy FOLDER` shows, for a place without the tables."""

    @model_validator(mode="after")
    def _reachable(self) -> FilesConfig:
        if self.folder and "://" in self.folder:
            raise ValueError("folder must be a path the driver can write, such as /Volumes/...")
        return self


class PublishConfig(Model):
    """What is handed over, and where to."""

    tables: tuple[PublishedName, ...] = ("recommendations", "similar_items", "item_attributes")
    """Further ones: complements, and item_features, the long form."""
    postgres: PostgresConfig = PostgresConfig()
    """Into a database."""
    files: FilesConfig = FilesConfig()
    """As files."""

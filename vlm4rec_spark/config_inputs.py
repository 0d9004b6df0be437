"""The configuration of what goes in and where it goes: tables, sources, pictures."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20}


def _bytes(value: object) -> object:
    """Turn '20MB' into 20000000; anything else is left to pydantic."""
    match = re.fullmatch(r"\s*([\d.]+)\s*([A-Za-z]*)\s*", value) if isinstance(value, str) else None
    if match is None or match[2].upper() not in _UNITS:
        return value
    return int(float(match[1]) * _UNITS[match[2].upper()])


ByteSize = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
Facets = dict[str, Annotated[float, Field(ge=0, le=10)]]


class Model(BaseModel):
    """Frozen, and a key that does not exist is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        populate_by_name=True,
        coerce_numbers_to_str=True,  # `--set run.run_id=17` is a name, whatever YAML thinks
    )


class TablesConfig(Model):
    """Where the tables are."""

    catalog: Text | None = None
    """Unity Catalog catalogue; null gives two-level names."""
    schema_name: Text = Field(default="vlm4rec", alias="schema")
    """Schema (database); made when missing. The key in YAML is `schema`."""
    location: Text | None = None
    """Folder or URL for the tables' files where no metastore keeps names (local runs): every
    session finds `LOCATION/SCHEMA/TABLE` again. Null leaves the place to the metastore."""


class ItemColumns(Model):
    """Which source column holds what; null where the source has no such column."""

    item_id: Text = "item_id"
    """String or integer; stored as a string."""
    title: Text | None = "title"
    """Name of the product."""
    category: Text | None = None
    """Category; decides which attributes are asked."""
    brand: Text | None = None
    """Brand."""
    price: Text | None = None
    """Price, any numeric type."""
    available: Text | None = None
    """Boolean; null means every item of the source is available."""
    variant_group: Text | None = None
    """Shared by variants of one product (sizes, colours)."""
    first_seen: Text | None = None
    """When the shop first had the item; null: the first run that saw it."""
    image: Text | tuple[Text, ...] | None = "image"
    """One column (bytes, path, URL or an array of these), or several, primary picture first."""
    attributes: tuple[Text, ...] = ()
    """Further columns, kept as text in the attribute map."""


class InteractionColumns(Model):
    """Which source column holds what; null where the source has no such column."""

    user_id: Text = "user_id"
    """String or integer; stored as a string."""
    item_id: Text = "item_id"
    """Id of the item, as in the catalogue."""
    rating: Text | None = None
    """Rating, held against `profiles.min_rating` and nothing else; without one it is 1.0."""
    timestamp: Text = "timestamp"
    """Timestamp, a date, or text Spark can cast to a timestamp."""
    event_type: Text | None = None
    """Kind of event, a key of `profiles.events`."""


class Partitions(Model):
    """How a JDBC table is read in parallel."""

    column: Text
    """Number, date or timestamp, best indexed; its range is asked from the database."""
    count: Positive = 8
    """Reads at a time, each over a part of the range."""


class Watermark(Model):
    """Reading only what is new: rows are kept in a table of ours, and fetched by this column."""

    column: Text
    """Time or integer that grows with every new or changed row; pushed down to the source."""
    overlap: Annotated[float, Field(ge=0)] = 24.0
    """Read again behind the newest row, for what was committed late: hours of a time column, units
    of an integer one."""


class UserColumns(Model):
    """Which source column holds what."""

    user_id: Text = "user_id"
    """String or integer; stored as a string."""
    segment: Text | None = "segment"
    """Market, gender, price band or a mix of them, as text."""
    text: Text | None = None
    """What a user looks for, in words, as asked at sign-up; those without a history get items near
    to it."""


class Source(Model):
    """A Spark source: a table, or a format with a path, or a format with options alone."""

    format: Text = "delta"
    """Name of the Spark reader: delta, parquet, csv, jdbc ..."""
    path: Text | None = None
    """File or folder to read."""
    table: Text | None = None
    """Table to read, two- or three-level name; with format jdbc the database's table."""
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Options of the reader; replaced as a whole by an overlay. `${env:NAME}` and
    `${secret:SCOPE/KEY}` stand for secrets."""
    partitions: Partitions | None = None
    """Parallel reads, format jdbc only; null reads over one connection."""
    watermark: Watermark | None = None
    """Read only what is new since the last run; null reads everything."""

    @model_validator(mode="after")
    def _fits_together(self) -> Source:
        if self.path and self.table:
            raise ValueError("give either path or table, not both")
        if self.partitions and (self.format != "jdbc" or not self.table):
            raise ValueError("partitions needs format jdbc and a table")
        return self

    @property
    def is_given(self) -> bool:
        """Whether the configuration says what to read."""
        return bool(self.path or self.table or self.options)


class ItemsSource(Source):
    """The catalogue."""

    columns: ItemColumns = ItemColumns()
    """Column mapping."""


class InteractionsSource(Source):
    """The log of who bought, clicked or rated what."""

    columns: InteractionColumns = InteractionColumns()
    """Column mapping."""


class UsersSource(Source):
    """Who the users are; users without events get lists, too."""

    columns: UserColumns = UserColumns()
    """Column mapping."""

    @model_validator(mode="after")
    def _read_whole(self) -> UsersSource:
        if self.watermark is not None:
            raise ValueError("users are read whole; leave watermark null")
        return self


class SourcesConfig(Model):
    """The inputs."""

    items: ItemsSource = ItemsSource()
    """The catalogue."""
    interactions: InteractionsSource = InteractionsSource()
    """The interaction log."""
    users: UsersSource = UsersSource()
    """Segments of the users; without table and path there are none."""


class ImagesConfig(Model):
    """How pictures are found and read."""

    kind: Literal["auto", "bytes", "path", "url", "directory"] = "auto"
    """What the image column holds; auto tells bytes, URL and path apart row by row, and text of
    another kind than said is an error row. `directory` joins files of `base` by the item id as
    their name, where the source has no column `image`."""
    base: Text | None = None
    """Folder that relative paths start from."""
    max_bytes: ByteSize = 20_000_000
    """A larger file becomes an error row."""
    max_pixels: Positive = 50_000_000
    """A picture with more pixels becomes an error row before it is decoded."""
    max_side: Positive = 448
    """Longest side in pixels after resizing; smaller pictures are left as they are."""
    max_images: Positive = 1
    """Pictures of one item that go into one request."""
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds a URL may take."""
    retries: Annotated[int, Field(ge=0)] = 2
    """Further attempts after a failed download."""
    per_host: Positive = 4
    """Downloads at a time from one host, per task."""
    refresh: bool = False
    """Fetch pictures at URLs again although the URL is unchanged."""
    allow_private_addresses: bool = False
    """Allow URLs that lead to private or link-local addresses."""

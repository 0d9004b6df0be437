"""The configuration as frozen pydantic models; `conf/base.yml` repeats it with comments."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

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
    """Folder for the tables' files where no metastore keeps names (local runs): every session
    finds `LOCATION/SCHEMA/TABLE` again. Null leaves the place to the metastore."""


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
    """Rating; null counts every event as 1.0."""
    timestamp: Text = "timestamp"
    """Timestamp, a date, or text Spark can cast to a timestamp."""
    event_type: Text | None = None
    """Kind of event, a key of `profiles.events`."""


class Source(Model):
    """A Spark source: a table, or a format with a path, or a format with options alone (JDBC)."""

    format: Text = "delta"
    """Name of the Spark reader: delta, parquet, csv, jdbc ..."""
    path: Text | None = None
    """File or folder to read."""
    table: Text | None = None
    """Table to read, two- or three-level name."""
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Options of the reader; replaced as a whole by an overlay."""

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if self.path and self.table:
            raise ValueError("give either path or table, not both")
        return self


class ItemsSource(Source):
    """The catalogue."""

    columns: ItemColumns = ItemColumns()
    """Column mapping."""


class InteractionsSource(Source):
    """The log of who bought, clicked or rated what."""

    columns: InteractionColumns = InteractionColumns()
    """Column mapping."""


class SourcesConfig(Model):
    """The two inputs."""

    items: ItemsSource = ItemsSource()
    """The catalogue."""
    interactions: InteractionsSource = InteractionsSource()
    """The interaction log."""


class ImagesConfig(Model):
    """How pictures are found and read."""

    kind: Literal["auto", "bytes", "path", "url", "directory"] = "auto"
    """What the image column holds; auto tells bytes, URL and path apart row by row. `directory`
    joins the files of `base` by the item id as file name."""
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
    allow_private_addresses: bool = False
    """Allow URLs that lead to private or link-local addresses."""


class AttributesByCategory(Model):
    """Attribute files by category."""

    default: Text
    """File for categories not named."""
    categories: dict[str, Text] = Field(default_factory=dict)
    """Category -> attribute file."""


class EngineConfig(Model):
    """The vision-language model."""

    kind: Literal["local", "endpoint", "fake"] = "local"
    """local starts one vLLM server per node, endpoint uses `urls`, fake answers by seed."""
    model: Text = "Qwen/Qwen2.5-VL-7B-Instruct"
    """Hub name, directory, or `demo` for the model packaged with the demo."""
    revision: Text | None = None
    """Revision on the hub; pin it for production."""
    urls: tuple[Text, ...] = ()
    """OpenAI-compatible base URLs (kind endpoint)."""
    api_key_env: Text | None = None
    """Name of the environment variable that holds the key; the key itself is never configured."""
    max_num_seqs: Positive = 64
    """Requests in flight at a time, per server."""
    max_tokens: Positive = 256
    """Longest answer in tokens."""
    temperature: Annotated[float, Field(ge=0.0)] = 0.0
    """0 is greedy and repeatable."""
    guided: bool = True
    """Force the JSON schema while decoding."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds one request may take."""
    server_args: tuple[str, ...] = ()
    """Further arguments of the local server."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds the local server may take to start."""
    lease_s: Annotated[float, Field(gt=0)] = 120.0
    """The local server stops this many seconds after its last user."""
    seed: int = 0
    """Seed of the fake engine."""
    latency_ms: Annotated[float, Field(ge=0)] = 0.0
    """Mean latency of the fake engine."""
    fault_rate: Share = 0.0
    """Share of requests the fake engine answers wrongly."""
    death_rate: Share = 0.0
    """Share of requests at which the fake engine kills its worker, once each."""

    @model_validator(mode="after")
    def _urls_for_endpoint(self) -> EngineConfig:
        if self.kind == "endpoint" and not self.urls:
            raise ValueError("kind endpoint needs at least one entry in urls")
        return self


class DescribeConfig(Model):
    """How items are described."""

    attributes: Text | AttributesByCategory = "generic"
    """Name of a file in conf/attributes, a path, or {default, categories}."""
    use_title: bool = False
    """Put the title into the prompt."""
    engine: EngineConfig = EngineConfig()
    """The model."""
    slices: Positive = 1
    """Commits per run; a crash costs one slice at most."""
    tasks: Positive = 2
    """Spark tasks (partitions) that send requests."""
    max_failure_rate: Share = 0.05
    """The run fails, after committing, above this share of failures."""
    min_rows_for_failure_rate: Positive = 100
    """Runs with fewer rows are not failed by the rate."""


class EmbedConfig(Model):
    """How texts become vectors."""

    model: Text = "sentence-transformers/all-MiniLM-L6-v2"
    """sentence-transformers name or directory, or `demo` for the packaged weights."""
    revision: Text | None = None
    """Revision on the hub."""
    texts: tuple[Literal["caption", "title", "title_caption", "attributes"], ...] = (
        "caption",
        "title_caption",
    )
    """Text variants that get a vector."""
    batch_size: Positive = 64
    """Texts per forward pass."""
    serve_space: Literal["caption", "title", "title_caption", "attributes"] = "caption"
    """The variant that profiles, lists and search use."""

    @model_validator(mode="after")
    def _served_is_embedded(self) -> EmbedConfig:
        if self.serve_space not in self.texts:
            raise ValueError(f"serve_space '{self.serve_space}' must be one of texts")
        return self


class ProfilesConfig(Model):
    """How histories become profiles."""

    half_life_days: Annotated[float, Field(gt=0)] = 30.0
    """An event counts half after this many days."""
    events: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {"view": 1.0, "cart": 3.0, "purchase": 5.0}
    )
    """Weight of each event type; replaced as a whole by an overlay."""
    min_rating: float | None = None
    """Events with a lower rating do not count."""
    max_history: Positive = 200
    """Newest items of a user that count."""
    now: datetime | None = None
    """Moment the decay and 'future' are measured from; null is the newest event."""


class TopkConfig(Model):
    """How lists are made."""

    k: Positive = 100
    """Length of a list."""
    engine: Literal["auto", "scann", "exact"] = "auto"
    """auto is scann where it is installed."""
    recall_target: Share = 0.99
    """The job fails under this audited recall."""
    audit_users: Annotated[int, Field(ge=0)] = 200
    """Users whose lists are compared with exact search."""
    mask_events: tuple[Text, ...] | None = None
    """Event types that count as seen; null counts all."""
    similar_k: Annotated[int, Field(ge=0)] = 20
    """Similar items per item."""
    index_path: Text = "vlm4rec-index"
    """Folder, shared by all workers, for the item matrix and the index files."""


class RunConfig(Model):
    """The run itself; never part of the configuration's hash."""

    run_id: Text | None = None
    """Null makes a new id."""
    progress_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds between progress lines."""


class Config(Model):
    """The whole configuration."""

    tables: TablesConfig = TablesConfig()
    """Where the tables are."""
    sources: SourcesConfig = SourcesConfig()
    """The inputs."""
    images: ImagesConfig = ImagesConfig()
    """Reading pictures."""
    describe: DescribeConfig = DescribeConfig()
    """Describing items."""
    embed: EmbedConfig = EmbedConfig()
    """Embedding texts."""
    profiles: ProfilesConfig = ProfilesConfig()
    """User profiles."""
    topk: TopkConfig = TopkConfig()
    """Lists."""
    run: RunConfig = RunConfig()
    """The run."""

    def public(self) -> dict[str, Any]:
        """Return the settings as plain data, source options that look secret replaced by '***'."""
        data = self.model_dump(mode="json", by_alias=True)
        for source in data["sources"].values():
            for key in source["options"]:
                if re.search(r"pass|secret|token|key|credential|user|^url$|query", key, re.I):
                    source["options"][key] = "***"
        return data

    def content_hash(self) -> str:
        """Return 16 hex digits that change with any setting but `run` and secrets."""
        data = self.public()
        del data["run"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

"""The configuration as frozen pydantic models; `conf/base.yml` repeats it with comments."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vlm4rec_spark.config_evaluation import AuditConfig, EvaluateConfig
from vlm4rec_spark.config_inputs import (
    Facets,
    ImagesConfig,
    Model,
    Positive,
    Share,
    SourcesConfig,
    TablesConfig,
    Text,
)
from vlm4rec_spark.config_lists import TopkConfig
from vlm4rec_spark.config_publish import PublishConfig

_SECRET_KEY = re.compile(r"pass|pwd|secret|token|credential|key", re.IGNORECASE)
_SECRET_PART = re.compile(
    r"(?<=://)[^/@\s]+(?=@)|(?<=password=)[^&;]+|(?<=token=)[^&;]+", re.IGNORECASE
)
"""Addresses carry a user and a password in front of the host, or in their parameters."""


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
    """OpenAI-compatible base URLs (kind endpoint); a bare host gets /v1."""
    api_key_env: Text | None = None
    """Name of the environment variable that holds the key; the key itself is never configured."""
    max_num_seqs: Positive = 64
    """Requests in flight at a time, per server."""
    max_tokens: Positive = 256
    """Longest answer in tokens."""
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The name under which the limit is sent; some hosted models know the second one only."""
    temperature: Annotated[float, Field(ge=0.0)] | None = 0.0
    """0 is greedy and repeatable; null leaves it out, for hosted models that refuse it."""
    guided: bool = True
    """Force the JSON schema while decoding."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds one request may take."""
    confidence: bool | None = None
    """Ask for log-probabilities; null: of the local server only, as not every endpoint has them."""
    attempts: Positive = 5
    """Tries of a request that meets errors (kind endpoint)."""
    patience_s: Annotated[float, Field(ge=0)] = 300.0
    """Seconds a request is repeated while the endpoint says it is busy."""
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    """Requests per minute of the whole job (kind endpoint); null is no limit."""
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    """Tokens per minute of the whole job, in and out; null is no limit."""
    tensor_parallel: Positive | None = None
    """GPUs one model is split over; null: all that Spark gives a task."""
    server_args: tuple[str, ...] = ()
    """Further arguments of the local server, which win over ours."""
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


class CostConfig(Model):
    """What describing costs, in any one currency; 0 leaves a part out."""

    input_per_million: Annotated[float, Field(ge=0)] = 0.0
    """Price of a million prompt tokens."""
    output_per_million: Annotated[float, Field(ge=0)] = 0.0
    """Price of a million tokens of answers."""
    gpu_hour: Annotated[float, Field(ge=0)] = 0.0
    """Price of one server, with all its GPUs, for an hour."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """No slice is started that would pass this by the price of those before; the first has 200
    requests at most. null is no limit."""


class DescribeConfig(Model):
    """How items are described."""

    attributes: Text | AttributesByCategory = "generic"
    """Name of a file in conf/attributes, a path, or {default, categories}."""
    use_title: bool = False
    """Put the title into the prompt."""
    two_stage: bool = False
    """Ask for the category of an item without one first, then only for its attributes."""
    engine: EngineConfig = EngineConfig()
    """The model."""
    slice_rows: Positive = 20_000
    """Requests per commit; a crash costs the two slices under way at most."""
    retry_errors: bool = False
    """Also ask again what failed for good, as after a change of `engine.server_args`."""
    max_requests: Positive | None = None
    """Most requests of one run, the newest and most popular items first; null is no limit."""
    cost: CostConfig = CostConfig()
    """Prices and the limit of a run."""
    near_duplicates: Annotated[int, Field(ge=0, le=7)] | None = None
    """Pictures whose perceptual hashes differ in at most this many of 64 bits are described once;
    null describes each."""
    tasks: Positive = 2
    """Spark tasks (partitions) that read pictures and send requests; on a cluster 4 a GPU node."""
    max_failure_rate: Share = 0.05
    """The run fails, after committing, above this share of failures."""
    min_rows_for_failure_rate: Positive = 100
    """Runs with fewer rows are not failed by the rate."""
    min_confidence: Share = 0.0
    """Attributes the model was less sure of are stored, but not used in texts, reasons, rules, nor
    published."""

    @model_validator(mode="after")
    def _categories_for_two_stages(self) -> DescribeConfig:
        if self.two_stage and (isinstance(self.attributes, str) or not self.attributes.categories):
            raise ValueError("two_stage needs attributes as {default: NAME, categories: {C: NAME}}")
        return self


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
    backend: Literal["torch", "openvino", "openvino_bf16", "openvino_int8"] = "torch"
    """What computes the encoder; OpenVINO is faster on a CPU and needs the extra `openvino`."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What the encoder runs on. cuda: nothing else may hold the GPU's memory, as a model server
    does until `engine.lease_s` after its last request; for large encoders in a job of their own."""
    visual_model: Text = "efficientnet-lite0"
    """Vision model that pictures are compared by in evaluate and audit: the packaged one, or any
    of transformers (hub name or directory). Lists are never made with it."""
    visual_revision: Text | None = None
    """Its revision on the hub."""
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
    events: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=lambda: {"view": 1.0, "cart": 3.0, "purchase": 5.0}
    )
    """Weight of each event type, negative for one that tells what a user does not want; replaced
    as a whole by an overlay."""
    min_rating: float | None = None
    """Events with a lower rating do not count."""
    max_history: Positive = 200
    """Newest items of a user that count."""
    interests: Annotated[int, Field(ge=1, le=8)] = 1
    """Interests of a user at most, each with places in the list in proportion to its weight."""
    fusion: Literal["mean", "max", "softmax"] = "mean"
    """mean: items of the history are averaged. Late, each is compared by itself: the largest
    cosine (max), or all, near ones most (softmax); the cost grows with `max_history`. A negative
    event is subtracted from the mean; late, it turns each item away (see `profiles.dislikes`)."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of softmax: near 0 it is max, large it is mean."""
    centre: bool = False
    """Subtract the catalogue's mean vector from every item: what all items share then counts
    nothing. Holds for lists, similar items and search alike."""
    whiten: bool = False
    """Also make all directions count alike: what many items vary in counts less."""
    facets: Facets = Field(default_factory=dict)
    """Described attribute: how much it counts in all likeness, 1 as it is, 0 not at all."""
    now: datetime | None = None
    """Later events are left out as of the future, and the age of new items is counted from here;
    null is the moment of the run. The decay is measured from the newest event left."""

    @model_validator(mode="after")
    def _one_way_to_fuse(self) -> ProfilesConfig:
        if self.fusion != "mean" and self.interests > 1:
            raise ValueError(f"fusion {self.fusion} needs no interests: leave them at 1")
        return self


class MlflowConfig(Model):
    """MLflow tracking; needs the extra `mlflow`, or an ML runtime of Databricks."""

    experiment: Text | None = None
    """Name of the experiment; null: nothing is tracked."""
    tracking_uri: Text | None = None
    """Address of the server; null is MLflow's own choice: the workspace on Databricks, else
    MLFLOW_TRACKING_URI."""


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
    evaluate: EvaluateConfig = EvaluateConfig()
    """Comparing arms."""
    audit: AuditConfig = AuditConfig()
    """Looking at neighbourhoods and descriptions."""
    publish: PublishConfig = PublishConfig()
    """Handing over."""
    mlflow: MlflowConfig = MlflowConfig()
    """Tracking."""
    run: RunConfig = RunConfig()
    """The run."""

    def public(self) -> dict[str, Any]:
        """Return the settings as plain data, what looks secret in source options as '***'."""
        data = self.model_dump(mode="json", by_alias=True)
        for source in (*data["sources"].values(), *data["evaluate"]["sources"]):
            for key in source["options"]:
                if _SECRET_KEY.search(key):
                    source["options"][key] = "***"
                elif isinstance(source["options"][key], str):
                    source["options"][key] = _SECRET_PART.sub("***", source["options"][key])
        return data

    def content_hash(self) -> str:
        """Return 16 hex digits that change with any setting but `run` and secrets."""
        data = self.public()
        del data["run"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

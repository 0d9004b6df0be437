"""From the configuration to the small frozen specifications that travel to the workers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from vlm4rec_spark.catalog.fetch import FetchSpec
from vlm4rec_spark.catalog.images import RESIZE_RULE
from vlm4rec_spark.config import Config, attribute_folders
from vlm4rec_spark.descriptions.client import EndpointSpec
from vlm4rec_spark.descriptions.describer import WorkerSpec
from vlm4rec_spark.descriptions.fake import FakeSpec
from vlm4rec_spark.descriptions.local import LocalSpec, model_path
from vlm4rec_spark.descriptions.requests import RequestRules, SchemaBook
from vlm4rec_spark.descriptions.schema import load_attributes

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.engine import EngineSpec

WHOLE_FILE_BYTES = 64 * 2**20
"""Files of a model up to this size are hashed whole, of larger ones only the two ends."""

END_BYTES = 2**20


def schema_book(config: Config) -> SchemaBook:
    """Read the attribute files the configuration names.

    Raises:
        ConfigError: a file is missing or wrong.
    """
    wanted = config.describe.attributes
    folders = attribute_folders()
    if isinstance(wanted, str):
        return SchemaBook(load_attributes(wanted, folders))
    return SchemaBook(
        load_attributes(wanted.default, folders),
        tuple((c, load_attributes(name, folders)) for c, name in sorted(wanted.categories.items())),
    )


def model_revision(model: str, revision: str | None) -> str:
    """Return the revision as configured, or for a directory a name made from its content.

    A model that is trained again in the same directory is another model: what the old one said
    must not count as done.
    """
    folder = Path(model_path(model))
    if revision or not folder.is_dir():
        return revision or ""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}|{size}|".encode())
        with path.open("rb") as file:
            if size <= WHOLE_FILE_BYTES:
                digest.update(file.read())
            else:
                digest.update(file.read(END_BYTES))
                file.seek(-END_BYTES, 2)
                digest.update(file.read())
    return digest.hexdigest()[:12]


def request_rules(config: Config) -> RequestRules:
    """Return what is asked of every item."""
    engine = config.describe.engine
    local_model = engine.kind == "local"
    revision = model_revision(engine.model, engine.revision) if local_model else engine.revision
    return RequestRules(
        schemas=schema_book(config),
        model=engine.model,
        # Answers of the fake engine must never pass for those of the model it stands for.
        revision=f"fake-{engine.seed}" if engine.kind == "fake" else revision or "",
        max_tokens=engine.max_tokens,
        temperature=engine.temperature,
        guided=engine.guided,
        use_title=config.describe.use_title,
        resize_rule=RESIZE_RULE,
        max_side=config.images.max_side,
        two_stage=config.describe.two_stage,
        limit_name=engine.limit_name,
    )


def engine_spec(config: Config) -> EngineSpec:
    """Return the engine to open on the workers."""
    engine = config.describe.engine
    if engine.kind == "fake":
        return FakeSpec(
            seed=engine.seed,
            latency_ms=engine.latency_ms,
            fault_rate=engine.fault_rate,
            death_rate=engine.death_rate,
        )
    if engine.kind == "endpoint":
        return _endpoint_spec(config)
    return LocalSpec(
        model=engine.model,
        revision=engine.revision,
        max_images=config.images.max_images,
        max_num_seqs=engine.max_num_seqs,
        server_args=engine.server_args,
        tensor_parallel=engine.tensor_parallel,
        timeout_s=engine.timeout_s,
        start_timeout_s=engine.start_timeout_s,
        lease_s=engine.lease_s,
    )


def _endpoint_spec(config: Config) -> EndpointSpec:
    """Return one task's share of what the job may send."""
    engine, tasks = config.describe.engine, config.describe.tasks
    requests, tokens = engine.requests_per_minute, engine.tokens_per_minute
    return EndpointSpec(
        urls=engine.urls,
        api_key_env=engine.api_key_env,
        timeout_s=engine.timeout_s,
        attempts=engine.attempts,
        patience_s=engine.patience_s,
        connections=-(-engine.max_num_seqs // tasks),
        requests_per_minute=requests / tasks if requests else None,
        tokens_per_minute=tokens / tasks if tokens else None,
    )


def worker_spec(config: Config, run_id: str) -> WorkerSpec:
    """Return all a task needs to describe pictures."""
    describe, engine = config.describe, config.describe.engine
    sure, spec = engine.confidence, engine_spec(config)
    # Tasks share a server: each alone can fill it, so that none waits for another's end.
    window = engine.max_num_seqs
    if isinstance(spec, EndpointSpec):
        window = spec.connections * len(spec.urls)
    return WorkerSpec(
        rules=request_rules(config),
        engine=spec,
        engine_name=engine.kind,
        fetch=FetchSpec.of(config.images),
        run_id=run_id,
        window=window,
        wants_confidence=engine.kind != "endpoint" if sure is None else sure,
        max_failure_rate=describe.max_failure_rate,
        min_rows_for_failure_rate=describe.min_rows_for_failure_rate,
    )

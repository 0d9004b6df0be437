"""What a Spark task does: requests in, one row for each request out, whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from vlm4rec_spark.catalog.fetch import FetchSpec, read_picture
from vlm4rec_spark.catalog.images import PictureError, prepare
from vlm4rec_spark.descriptions.answers import AnswerError, parse_answer
from vlm4rec_spark.descriptions.engine import (
    DECODE,
    FETCH,
    TRUNCATED,
    Engine,
    EngineFailure,
    EngineSpec,
    Reply,
)
from vlm4rec_spark.descriptions.requests import (
    Picture,
    Request,
    RequestRules,
    chat_body,
    params_hash,
    prompt_version,
    request_key,
)
from vlm4rec_spark.descriptions.window import LoopThread, windowed
from vlm4rec_spark.tables import DESCRIPTIONS_LOG

Batches = Iterator[pa.RecordBatch]
OUTPUT_ROWS = 64
PREPARING_THREADS = 8

KEYS = pa.schema([("item_id", pa.string()), ("request_key", pa.string())])
"""What `keyed` gives: the request key in force of each item, null without a usable picture."""


@dataclass(frozen=True)
class WorkerSpec:
    """All a task needs; `window` is the number of requests one task keeps in flight."""

    rules: RequestRules
    engine: EngineSpec
    engine_name: str
    fetch: FetchSpec
    run_id: str
    window: int = 64


def keyed(rules: RequestRules) -> Callable[[Batches], Batches]:
    """Return a function for `mapInArrow`: item_id, category, title, hashes -> KEYS."""

    def run(batches: Batches) -> Batches:
        for batch in batches:
            columns = (batch[n].to_pylist() for n in ("hashes", "category", "title"))
            keys = [
                request_key(rules, hashes, category, title) if hashes else None
                for hashes, category, title in zip(*columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(
                [batch["item_id"].cast(pa.string()), pa.array(keys, pa.string())], schema=KEYS
            )

    return run


def describing(spec: WorkerSpec) -> Callable[[Batches], Batches]:
    """Return a function for `mapInArrow`: pending requests -> rows of `descriptions_log`."""

    def run(batches: Batches) -> Batches:
        rows = describe_rows(spec, (row for batch in batches for row in batch.to_pylist()))
        schema = DESCRIPTIONS_LOG.arrow_schema()
        waiting: list[dict[str, Any]] = []
        for row in rows:
            waiting.append(row)
            if len(waiting) == OUTPUT_ROWS:
                yield pa.RecordBatch.from_pylist(waiting, schema=schema)
                waiting = []
        if waiting:
            yield pa.RecordBatch.from_pylist(waiting, schema=schema)

    return run


def describe_rows(spec: WorkerSpec, pending: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Describe pending requests; the engine is opened only when there is a first one.

    Raises:
        EngineError: the engine cannot be started or reached at all.
    """
    source = iter(pending)
    first = next(source, None)
    if first is None:
        return
    with LoopThread(PREPARING_THREADS) as loop:
        engine = spec.engine.open()
        describer = Describer(spec, engine)
        try:
            everything = (row for part in ([first], source) for row in part)
            yield from windowed(everything, describer.describe, spec.window, loop)
        finally:
            loop.submit(engine.aclose()).result(timeout=10)


class Describer:
    """Turns one pending row into one row of the log."""

    def __init__(self, spec: WorkerSpec, engine: Engine) -> None:
        """Keep the specification and the opened engine."""
        self._spec = spec
        self._engine = engine

    async def describe(self, row: dict[str, Any]) -> dict[str, Any]:
        """Read, send, check: every way this can end gives a row with the same columns."""
        request = Request(
            row["request_key"],
            tuple(Picture(p["uri"], p["sha256"]) for p in row["pictures"]),
            row["category"],
            row["title"],
            row["attempt"],
        )
        contents = [p.get("content") for p in row["pictures"]]
        base = self._base(request)
        jpegs = await asyncio.to_thread(self._pictures, request, contents)
        if isinstance(jpegs, EngineFailure):
            return base | _error(jpegs)
        body = chat_body(
            self._spec.rules, request, jpegs, name_pictures=self._spec.engine_name == "local"
        )
        outcome = await self._engine.complete(body, request.request_key)
        if isinstance(outcome, EngineFailure):
            return base | _error(outcome)
        return base | _figures(outcome) | self._checked(request, outcome)

    def _base(self, request: Request) -> dict[str, Any]:
        rules = self._spec.rules
        return {
            "request_key": request.request_key,
            "attempt": request.attempt,
            "picture_hashes": [p.sha256 for p in request.pictures],
            "attribute_schema": rules.schemas.schema_for(request.category).name,
            "category": request.category,
            "prompt_version": prompt_version(rules, request.category),
            "model": rules.model_id,
            "params_hash": params_hash(rules),
            "engine": self._spec.engine_name,
            "run_id": self._spec.run_id,
            "described_at": datetime.now(timezone.utc),
        }

    def _pictures(
        self, request: Request, contents: list[bytes | None]
    ) -> list[bytes] | EngineFailure:
        """Return the pictures as they are sent, or why one of them cannot be."""
        jpegs = []
        for picture, content in zip(request.pictures, contents, strict=True):
            try:
                raw = read_picture(self._spec.fetch, picture.uri if content is None else content)
            except PictureError as error:
                return EngineFailure(FETCH, error.code, str(error))
            if hashlib.sha256(raw).hexdigest() != picture.sha256:
                return EngineFailure(
                    FETCH,
                    "changed",
                    "The picture is another one than the catalogue job saw; run that job again.",
                )
            try:
                jpegs.append(prepare(raw, self._spec.rules.max_side, self._spec.fetch.limits))
            except PictureError as error:
                return EngineFailure(DECODE, error.code, str(error))
        return jpegs

    def _checked(self, request: Request, reply: Reply) -> dict[str, Any]:
        if reply.finish_reason == "length":
            limit = self._spec.rules.max_tokens
            message = f"the answer reached max_tokens = {limit} before it was complete"
            failure = EngineFailure(TRUNCATED, "length", message)
            return _error(failure) | {"raw_text": reply.text}
        schema = self._spec.rules.schemas.schema_for(request.category)
        try:
            answer = parse_answer(reply.text, schema, request.category)
        except AnswerError as error:
            failure = EngineFailure(error.stage, error.code, str(error))
            return _error(failure) | {"raw_text": reply.text}
        attributes = [
            (name, {"value": value, "confidence": None})
            for name, value in answer.attributes.items()
        ]
        return {"status": "ok", "description": answer.description, "attributes": attributes}


def _error(failure: EngineFailure) -> dict[str, Any]:
    return {
        "status": "error",
        "stage": failure.stage,
        "error_code": failure.code,
        "error_message": failure.message,
    }


def _figures(reply: Reply) -> dict[str, Any]:
    return {
        "tokens_in": reply.tokens_in,
        "tokens_cached": reply.tokens_cached,
        "tokens_out": reply.tokens_out,
        "latency_ms": reply.latency_ms,
    }

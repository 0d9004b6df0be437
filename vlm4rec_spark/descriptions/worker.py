"""What a Spark task does: requests in, one row for each request out, whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import takewhile
from typing import Any

import pyarrow as pa

from vlm4rec_spark.catalog.fetch import FetchSpec, read_picture
from vlm4rec_spark.catalog.images import PictureError, prepare
from vlm4rec_spark.descriptions.answers import AnswerError, parse_answer
from vlm4rec_spark.descriptions.confidence import value_confidences
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
from vlm4rec_spark.descriptions.window import LoopThread, WindowLimits, windowed
from vlm4rec_spark.tables import DESCRIPTIONS_LOG

Batches = Iterator[pa.RecordBatch]
INPUT_ROWS = OUTPUT_ROWS = 64
PREPARING_THREADS = 8
PREPARED_BYTES = 256 * 1024
"""Room for one prepared picture, as JPEG and in base64."""

KEYS = pa.schema([("item_id", pa.string()), ("request_key", pa.string())])
"""What `keyed` gives: the request key in force of each item, null without a usable picture."""


@dataclass(frozen=True)
class WorkerSpec:
    """All a task needs.

    `window` requests, and `window_bytes` of pictures, are in flight in one task; the two limits of
    failures are the run's; `wants_confidence` asks the engine for log-probabilities; `landing`
    names the commit that will hold the rows.
    """

    rules: RequestRules
    engine: EngineSpec
    engine_name: str
    fetch: FetchSpec
    run_id: str
    window: int = 64
    window_bytes: int = 256 * 2**20
    wants_confidence: bool = True
    max_failure_rate: float = 0.05
    min_rows_for_failure_rate: int = 100
    landing: str = ""


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
        schema = DESCRIPTIONS_LOG.arrow_schema()
        waiting: list[dict[str, Any]] = []
        for row in describe_rows(spec, _rows(batches)):
            waiting.append(row)
            if len(waiting) == OUTPUT_ROWS:
                yield pa.RecordBatch.from_pylist(waiting, schema=schema)
                waiting = []
        if waiting:
            yield pa.RecordBatch.from_pylist(waiting, schema=schema)

    return run


def _rows(batches: Batches) -> Iterator[dict[str, Any]]:
    """Yield the rows of the batches; only some at a time, for they may hold pictures."""
    for batch in batches:
        for start in range(0, batch.num_rows, INPUT_ROWS):
            yield from batch.slice(start, INPUT_ROWS).to_pylist()


def describe_rows(spec: WorkerSpec, pending: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Describe pending requests; the engine is opened only when there is a first one.

    When far more of them fail than the run allows, no further one is sent: the rest stays pending
    while the driver, which sees all tasks, decides.

    Raises:
        EngineError: the engine cannot be started or reached at all.
    """
    source = iter(pending)
    first = next(source, None)
    if first is None:
        return
    breaker = Breaker(spec.max_failure_rate, spec.min_rows_for_failure_rate)
    with LoopThread(PREPARING_THREADS) as loop:
        engine = spec.engine.open()
        describer = Describer(spec, engine)
        everything = (row for part in ([first], source) for row in part)
        wanted = takewhile(lambda _: not breaker.is_open, everything)
        limits = WindowLimits(spec.window, spec.window_bytes)
        try:
            for row in windowed(wanted, describer.describe, limits, loop, _weight):
                breaker.count(is_error=row["status"] == "error")
                yield row
        finally:
            loop.submit(engine.aclose()).result(timeout=10)


def _weight(row: dict[str, Any]) -> int:
    """Return about how many bytes a request holds while it is under way."""
    contents = (len(p.get("content") or b"") for p in row["pictures"])
    return sum(contents) + PREPARED_BYTES * len(row["pictures"])


class Breaker:
    """Opens when more than half of what could fail within the limit and all has failed.

    One task sees a part of the run only, so its patience is greater than the run's.
    """

    def __init__(self, max_failure_rate: float, min_rows: int) -> None:
        """Keep the run's own limit."""
        self._most = (1 + max_failure_rate) / 2
        self._min_rows = min_rows
        self._rows = self._errors = 0

    def count(self, *, is_error: bool) -> None:
        """Count one finished request."""
        self._rows += 1
        self._errors += is_error

    @property
    def is_open(self) -> bool:
        """Tell whether sending on is a waste."""
        return self._rows >= self._min_rows and self._errors > self._most * self._rows


@dataclass
class Spent:
    """Seconds that making one request ready took."""

    fetch_s: float = 0.0
    prepare_s: float = 0.0


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
        spent = Spent()
        jpegs = await asyncio.to_thread(self._pictures, request, contents, spent)
        base |= {"fetch_ms": 1000 * spent.fetch_s, "prepare_ms": 1000 * spent.prepare_s}
        if isinstance(jpegs, EngineFailure):
            return base | _error(jpegs)
        body = chat_body(
            self._spec.rules, request, jpegs, name_pictures=self._spec.engine_name == "local"
        )
        if self._spec.wants_confidence:
            body["logprobs"] = True
        outcome = await self._complete(body, request.request_key)
        base["described_at"] = datetime.now(timezone.utc)
        base["engine_sample"] = list((self._engine.sample() or {}).items()) or None
        if isinstance(outcome, EngineFailure):
            return base | _error(outcome)
        return base | _figures(outcome) | self._checked(request, outcome)

    async def _complete(self, body: dict[str, Any], key: str) -> Reply | EngineFailure:
        """Ask, and ask once more with twice the room where the answer was cut off."""
        first = await self._engine.complete(body, key)
        if isinstance(first, EngineFailure) or first.finish_reason != "length":
            return first
        longer = body | {"max_tokens": 2 * body["max_tokens"]}
        second = await self._engine.complete(longer, key)
        if isinstance(second, EngineFailure):
            return second
        return replace(
            second,
            tokens_in=first.tokens_in + second.tokens_in,
            tokens_cached=first.tokens_cached + second.tokens_cached,
            tokens_out=first.tokens_out + second.tokens_out,
            latency_ms=first.latency_ms + second.latency_ms,
        )

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
            "landing": self._spec.landing,
            "described_at": datetime.now(timezone.utc),
        }

    def _pictures(
        self, request: Request, contents: list[bytes | None], spent: Spent
    ) -> list[bytes] | EngineFailure:
        """Return the pictures as they are sent, or why one of them cannot be."""
        jpegs = []
        for picture, content in zip(request.pictures, contents, strict=True):
            started = time.perf_counter()
            try:
                raw = read_picture(self._spec.fetch, picture.uri if content is None else content)
            except PictureError as error:
                return EngineFailure(FETCH, error.code, str(error))
            finally:
                spent.fetch_s += time.perf_counter() - started
            if hashlib.sha256(raw).hexdigest() != picture.sha256:
                return EngineFailure(
                    FETCH,
                    "changed",
                    "The picture is another one than the catalogue job saw; run that job again.",
                )
            started = time.perf_counter()
            try:
                jpegs.append(prepare(raw, self._spec.rules.max_side, self._spec.fetch.limits))
            except PictureError as error:
                return EngineFailure(DECODE, error.code, str(error))
            finally:
                spent.prepare_s += time.perf_counter() - started
        return jpegs

    def _checked(self, request: Request, reply: Reply) -> dict[str, Any]:
        if reply.finish_reason == "length":
            limit = self._spec.rules.max_tokens
            message = f"the answer was not complete after twice max_tokens = {limit}"
            failure = EngineFailure(TRUNCATED, "length", message)
            return _error(failure) | {"raw_text": reply.text}
        schema = self._spec.rules.schemas.schema_for(request.category)
        try:
            answer = parse_answer(reply.text, schema, request.category)
        except AnswerError as error:
            failure = EngineFailure(error.stage, error.code, str(error))
            return _error(failure) | {"raw_text": reply.text}
        free_text = frozenset(field.name for field in schema.fields if not field.values)
        sure = value_confidences(reply.text, reply.tokens, free_text)
        attributes = [
            (name, {"value": value, "confidence": sure.get(name)})
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
        "server": reply.server,
    }

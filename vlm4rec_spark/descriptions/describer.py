"""One request from start to end: read its pictures, ask, check; every way it ends is one row."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.catalog.fetch import FetchSpec, read_picture
from vlm4rec_spark.catalog.images import PictureError, prepare
from vlm4rec_spark.descriptions.answers import AnswerError, parse_answer
from vlm4rec_spark.descriptions.confidence import value_confidences
from vlm4rec_spark.descriptions.engine import (
    DECODE,
    FETCH,
    GENERATE,
    MESSAGE_CHARACTERS,
    TRUNCATED,
    Engine,
    EngineFailure,
    EngineSpec,
    Reply,
    unforeseen,
)
from vlm4rec_spark.descriptions.requests import (
    Picture,
    Request,
    RequestRules,
    chat_body,
    params_hash,
    prompt_version,
)
from vlm4rec_spark.errors import Vlm4RecError

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.progress import ProgressSpec


@dataclass(frozen=True)
class WorkerSpec:
    """All a task needs.

    `window` requests, and `window_bytes` of pictures, are in flight in one task; the two limits of
    failures are the run's; `wants_confidence` asks the engine for log-probabilities; `landing`
    names the commit that will hold the rows; `progress` is where the task says how far it is (None:
    nowhere), as the one with the number `partition`.
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
    progress: ProgressSpec | None = None
    partition: int = 0


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
        """Read, send, check: every way this can end gives a row with the same columns.

        Raises:
            Vlm4RecError: no request of this task can be answered.
        """
        request = Request(
            row["request_key"],
            tuple(Picture(p["uri"], p["sha256"]) for p in row["pictures"]),
            row["category"],
            row["title"],
            row["attempt"],
        )
        contents = [p.get("content") for p in row["pictures"]]
        base = self._base(request)
        try:
            return await self._described(request, contents, base)
        except Vlm4RecError:
            raise
        except Exception as error:  # noqa: BLE001 - one odd row must not end a task of thousands
            # Neither stage is settled, so the next run asks again.
            has_pictures = "fetch_ms" in base
            return base | _error(unforeseen(GENERATE if has_pictures else FETCH, error))

    async def _described(
        self, request: Request, contents: list[bytes | None], base: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the row; what is known on the way is put into `base`."""
        spent = Spent()
        jpegs = await asyncio.to_thread(self._pictures, request, contents, spent)
        base |= {"fetch_ms": 1000 * spent.fetch_s, "prepare_ms": 1000 * spent.prepare_s}
        if isinstance(jpegs, EngineFailure):
            return base | _error(jpegs)
        outcome, request = await self._ask(request, jpegs)
        base |= self._asked_about(request)
        base["described_at"] = datetime.now(timezone.utc)
        base["engine_sample"] = list((self._engine.sample() or {}).items()) or None
        if isinstance(outcome, EngineFailure):
            return base | (_figures(outcome.paid) if outcome.paid else {}) | _error(outcome)
        base |= _figures(outcome)
        return base | self._checked(request, outcome)

    async def _ask(
        self, request: Request, jpegs: list[bytes]
    ) -> tuple[Reply | EngineFailure, Request]:
        """Return the answer and what was asked: where wanted, the category was found first."""
        rules, key = self._spec.rules, request.request_key
        if not rules.two_stage or request.category is not None:
            return await self._complete(self._body(rules, request, jpegs), key), request
        first_rules, second_rules = rules.first_stage(), replace(rules, two_stage=False)
        first = await self._complete(self._body(first_rules, request, jpegs), key)
        if isinstance(first, EngineFailure):
            return first, request
        try:
            found = parse_answer(first.text, first_rules.schemas.default, None).description
        except AnswerError:
            found = None  # it fits none of them: all that the default file asks
        request = replace(request, category=found)
        second = await self._complete(self._body(second_rules, request, jpegs), key)
        return _both(first, second), request

    def _body(self, rules: RequestRules, request: Request, jpegs: list[bytes]) -> dict[str, Any]:
        is_ours = self._spec.engine_name == "local"
        body = chat_body(rules, request, jpegs, name_pictures=is_ours)
        return body | {"logprobs": True} if self._spec.wants_confidence else body

    async def _complete(self, body: dict[str, Any], key: str) -> Reply | EngineFailure:
        """Ask, and ask once more with twice the room where the answer was cut off."""
        first = await self._engine.complete(body, key)
        if isinstance(first, EngineFailure) or first.finish_reason != "length":
            return first
        limit = self._spec.rules.limit_name
        longer = body | {limit: 2 * body[limit]}
        return _both(first, await self._engine.complete(longer, key))

    def _asked_about(self, request: Request) -> dict[str, Any]:
        schema = self._spec.rules.schemas.schema_for(request.category)
        return {"attribute_schema": schema.name, "category": request.category}

    def _base(self, request: Request) -> dict[str, Any]:
        rules = self._spec.rules
        return {
            "request_key": request.request_key,
            "attempt": request.attempt,
            "picture_hashes": [p.sha256 for p in request.pictures],
            **self._asked_about(request),
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


def _both(first: Reply, second: Reply | EngineFailure) -> Reply | EngineFailure:
    """Return the second outcome with what both took."""
    if isinstance(second, EngineFailure):
        return replace(second, paid=_sum(first, second.paid) if second.paid else first)
    return _sum(first, second)


def _sum(first: Reply, second: Reply) -> Reply:
    """Return the second reply with what both took."""
    return replace(
        second,
        tokens_in=first.tokens_in + second.tokens_in,
        tokens_cached=first.tokens_cached + second.tokens_cached,
        tokens_out=first.tokens_out + second.tokens_out,
        latency_ms=first.latency_ms + second.latency_ms,
    )


def _error(failure: EngineFailure) -> dict[str, Any]:
    return {
        "status": "error",
        "stage": failure.stage,
        "error_code": failure.code,
        "error_message": failure.message[:MESSAGE_CHARACTERS],
    }


def _figures(reply: Reply) -> dict[str, Any]:
    return {
        "tokens_in": reply.tokens_in,
        "tokens_cached": reply.tokens_cached,
        "tokens_out": reply.tokens_out,
        "latency_ms": reply.latency_ms,
        "server": reply.server,
    }

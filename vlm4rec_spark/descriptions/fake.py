"""A deterministic engine: answers, waits and faults that depend on a seed and the request only."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm4rec_spark.descriptions.engine import GENERATE, REQUEST, EngineFailure, Reply
from vlm4rec_spark.descriptions.lifeline import start_time
from vlm4rec_spark.descriptions.server import owner_pid

FAULTS = ("refuse", "busy", "truncate", "babble", "wrong_value", "silence")
"""Faults a fake engine can show: HTTP 400, HTTP 503 after all retries, an answer cut at any
length limit, an answer that is no JSON, values that are not allowed, an empty answer."""

WORDS = ("soft", "plain", "warm", "light", "bold", "neat", "relaxed", "crisp", "weekend", "evening")
WORDS_A_TEXT = 8


@dataclass(frozen=True)
class FakeSpec:
    """A fake engine.

    `latency_ms` is the mean wait for an answer; `fault_rate` the share of requests that fail;
    `faults` the kinds to draw from, see `FAULTS`; `death_rate` the share of requests at which the
    process is killed, once each for one application.
    """

    seed: int = 0
    latency_ms: float = 0.0
    fault_rate: float = 0.0
    faults: tuple[str, ...] = FAULTS
    death_rate: float = 0.0

    def open(self) -> FakeEngine:
        """Return an engine; nothing is started."""
        return FakeEngine(self)


class FakeEngine:
    """Answers every request from its key alone, so any partitioning gives the same rows."""

    def __init__(self, spec: FakeSpec) -> None:
        """Keep the knobs."""
        self._spec = spec

    async def complete(self, body: dict[str, Any], key: str) -> Reply | EngineFailure:
        """Answer a chat request with valid JSON for its schema, or with a fault."""
        rng = random.Random(f"{self._spec.seed}|{key}")  # noqa: S311 - no secret depends on it
        if rng.random() < self._spec.death_rate:
            _die_once(f"{self._spec.seed}-{key}")
        latency_ms = self._spec.latency_ms * rng.uniform(0.5, 1.5)
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)
        fault = rng.choice(self._spec.faults) if rng.random() < self._spec.fault_rate else ""
        if fault == "refuse":
            return EngineFailure(REQUEST, "http_400", "the fake engine refused the request")
        if fault == "busy":
            return EngineFailure(REQUEST, "http_503", "the fake engine was busy at every attempt")
        if fault == "silence":
            return EngineFailure(GENERATE, "empty", "the fake engine answered with no text")
        return _reply(body, fault, latency_ms)

    def sample(self) -> None:
        """There is no server to look at."""

    async def aclose(self) -> None:
        """Nothing to give back."""


def _die_once(name: str) -> None:
    """Kill this process as the kernel would, unless that was done before under this name."""
    owner = owner_pid()
    folder = Path(tempfile.gettempdir()) / f"vlm4rec-{os.getuid()}" / "deaths"
    marker = folder / f"{owner}-{start_time(owner)}-{hashlib.sha256(name.encode()).hexdigest()}"
    marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def answer_to(body: dict[str, Any]) -> str:
    """Return the JSON text that answers a chat request, drawn from what it shows."""
    return json.dumps(_answer(body), separators=(",", ":"))


def _reply(body: dict[str, Any], fault: str, latency_ms: float) -> Reply:
    text = answer_to(body)
    reason = "stop"
    if fault == "truncate":
        text, reason = text[: len(text) // 2], "length"
    elif fault == "babble":
        text = "I am sorry, there is a product in this picture."
    elif fault == "wrong_value":
        # A number is wrong for every field, whether it is a choice or free words.
        text = json.dumps(dict.fromkeys(json.loads(text), 7))
    prompt_tokens = len(json.dumps(body["messages"][0])) // 4
    tokens = _tokens(text) if body.get("logprobs") else ()
    return Reply(text, reason, prompt_tokens + 64, 0, len(text) // 4, latency_ms, tokens)


def _tokens(text: str) -> tuple[tuple[bytes, float], ...]:
    """Cut the answer into pieces of four bytes, each with a log-probability of its own."""
    raw = text.encode()
    pieces = [raw[i : i + 4] for i in range(0, len(raw), 4)]
    return tuple((piece, -(sum(piece) % 16) / 64) for piece in pieces)


def _answer(body: dict[str, Any]) -> dict[str, str]:
    """Draw an answer from what is seen: the pictures and the words, not the system message."""
    seen = json.dumps(body["messages"][1], sort_keys=True)
    rng = random.Random(hashlib.sha256(seen.encode()).hexdigest())  # noqa: S311 - as above
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    return {name: _value(rng, spec) for name, spec in schema.get("properties", {}).items()}


def _value(rng: random.Random, spec: dict[str, Any]) -> str:
    if "enum" in spec:
        return str(rng.choice(spec["enum"]))
    return " ".join(rng.choice(WORDS) for _ in range(WORDS_A_TEXT))

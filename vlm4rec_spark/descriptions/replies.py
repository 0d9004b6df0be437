"""What an endpoint sent back: a reply, or a refusal and whether asking again may help."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from vlm4rec_spark.descriptions.engine import (
    GENERATE,
    REQUEST,
    EngineFailure,
    Reply,
    storable,
)

FINAL, BUSY, BROKEN = "final", "busy", "broken"
"""Ways to refuse: for good; for now, the server is well; for now, something is wrong."""

BUSY_STATUS = frozenset({429, 503, 529})
BROKEN_STATUS = frozenset({408, 409, 425, 500, 502, 504})
LONGEST_WAIT_S = 120.0
MOST_TOKENS = 2**28
"""More is no number of tokens; several replies' sum still fits into the tables' 32 bits."""

ODD = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading an answer of another shape raises; the last is JSON that is nested too deeply."""


@dataclass(frozen=True)
class HttpAnswer:
    """What came back; `retry_after` is the header of that name, '' without one."""

    status: int
    content: bytes
    retry_after: str = ""


@dataclass(frozen=True)
class Refusal:
    """One unsuccessful attempt; `wait_s` is what the server asked for, 0 where it did not."""

    failure: EngineFailure
    kind: str
    wait_s: float = 0.0


def refusal(
    code: str, message: str, kind: str = BROKEN, *, stage: str = REQUEST, wait_s: float = 0.0
) -> Refusal:
    """Build a refusal."""
    return Refusal(EngineFailure(stage, code, storable(message)), kind, wait_s)


def read_answer(answer: HttpAnswer, latency_ms: float) -> Reply | Refusal:
    """Turn an answer of `/v1/chat/completions` into a reply or a refusal."""
    status = answer.status
    if status != 200:  # noqa: PLR2004 - the one status that carries a completion
        kind = BUSY if status in BUSY_STATUS else BROKEN if status in BROKEN_STATUS else FINAL
        message = f"HTTP {status}: {_error_text(answer.content)}"
        wait_s = 0.0 if kind == FINAL else _wait_s(answer.retry_after)
        return refusal(f"http_{status}", message, kind, wait_s=wait_s)
    try:
        data = json.loads(answer.content)
        choice = data["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
        reason = str(choice.get("finish_reason") or "")
        why = str(message.get("refusal") or f"finish_reason {reason or 'absent'}")
    except ODD:
        return refusal("bad_reply", "the endpoint's answer is no chat completion")
    if not text:
        return refusal("empty", f"the model wrote no text: {why}", FINAL, stage=GENERATE)
    return Reply(
        storable(text),
        reason,
        _count(data, "usage", "prompt_tokens"),
        _count(data, "usage", "prompt_tokens_details", "cached_tokens"),
        _count(data, "usage", "completion_tokens"),
        latency_ms,
        _tokens(choice),
    )


def _text(content: Any) -> str:
    """Return a message's text: a model that thinks first sends blocks, and only some are text.

    Raises:
        TypeError: it is something else; or, as other errors of `ODD`, a block is.
    """
    if isinstance(content, list):
        return "".join(block["text"] for block in content if block["type"] == "text")
    if content is None or isinstance(content, str):
        return content or ""
    raise TypeError("neither text nor a list of blocks")


def _count(data: Any, *path: str) -> int:
    """Return a number of tokens; 0 where it is absent or odd: the answer is worth more."""
    try:
        for name in path:
            data = data[name]
        found = int(data)
    except ODD:
        return 0
    return found if 0 <= found <= MOST_TOKENS else 0


def _tokens(choice: dict[str, Any]) -> tuple[tuple[bytes, float], ...]:
    """Return the tokens with their log-probabilities; none where they are absent or odd."""
    try:
        listed = (choice.get("logprobs") or {}).get("content") or ()
        return tuple((_bytes(token), _logprob(token)) for token in listed)
    except ODD:
        return ()


def _bytes(token: dict[str, Any]) -> bytes:
    """Return a token's bytes: part of a character has no text of its own."""
    given = token.get("bytes")
    # Through a list: the bytes of a single number would be that many zeros.
    return bytes([*given]) if given is not None else str(token["token"]).encode()


def _logprob(token: dict[str, Any]) -> float:
    """Return a token's log-probability; where rounding lifts it above 0, that is 0."""
    given = float(token["logprob"])
    if math.isnan(given):
        raise ValueError("not a number")
    return min(0.0, given)


def _wait_s(retry_after: str) -> float:
    """Return the seconds that the header asks for, as a number or as the moment to come back at."""
    try:
        asked = float(retry_after or 0)
    except ValueError:
        asked = _seconds_until(retry_after)
    return max(0.0, min(asked, LONGEST_WAIT_S))


def _seconds_until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


def _error_text(content: bytes) -> str:
    """Return the endpoint's own words about an error, in one line."""
    try:
        data = json.loads(content)
        error = data.get("error", data)
        text = str(error.get("message", "") if isinstance(error, dict) else error)
    except ODD:
        text = content.decode("utf-8", "replace")
    return " ".join(text.split()) or "no message"

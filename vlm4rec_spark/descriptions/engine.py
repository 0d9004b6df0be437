"""What every engine is: a request body in, a reply or a failure out, never an exception."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vlm4rec_spark.catalog.addresses import shown

FETCH, DECODE, REQUEST, GENERATE = "fetch", "decode", "request", "generate"
TRUNCATED, PARSE, VALIDATE = "truncated", "parse", "validate"
STAGES = (FETCH, DECODE, REQUEST, GENERATE, TRUNCATED, PARSE, VALIDATE)
"""The stages an error row can name, in the order a request passes them."""

SETTLED_STAGES = (DECODE, TRUNCATED, PARSE, VALIDATE)
"""Errors of these stages come from the input alone: the same request would fail again."""

POISON = "poison"
"""Code of a request that was being answered at two deaths of the server."""

INTERNAL = "internal"
"""Code of an error that nobody foresaw; not settled, as the next version may know better."""

MESSAGE_CHARACTERS = 400
URL = re.compile(r"\w+://\S+")

SETTLED_CODES = ("http_400", "http_413", "http_415", "http_422", POISON)
"""Codes of an engine that name the request itself as wrong; asking again gives the same."""


@dataclass(frozen=True)
class Reply:
    """What the model wrote, with the figures the server gave.

    `tokens` are the answer's tokens as (bytes, log-probability), where the server told them.
    """

    text: str
    finish_reason: str
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    latency_ms: float
    tokens: tuple[tuple[bytes, float], ...] = ()
    server: str = ""


@dataclass(frozen=True)
class EngineFailure:
    """Why there is no reply; the message never holds a key or a URL's query.

    `paid` is what was answered before, of a request that is sent more than once: it costs, too.
    """

    stage: str
    code: str
    message: str
    paid: Reply | None = None


def storable(text: str) -> str:
    r"""Return the text with '?' for halves of characters, which JSON can name and no table takes.

    >>> storable("a \ud83d hat")
    'a ? hat'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def unforeseen(stage: str, error: Exception) -> EngineFailure:
    """Return what is kept of an error that nobody foresaw: its type, where it arose, its words.

    The words are yet to be cut: half of a key that they hold could not be found any more.
    """
    where = traceback.extract_tb(error.__traceback__)[-1]
    words = URL.sub(lambda url: shown(url[0]), " ".join(str(error).split()))
    place = f"{Path(where.filename).name}:{where.lineno}"
    message = f"{type(error).__name__} at {place}: {storable(words)}"
    return EngineFailure(stage, INTERNAL, message)


class Engine(Protocol):
    """An opened engine; it belongs to one event loop."""

    async def complete(self, body: dict[str, Any], key: str) -> Reply | EngineFailure:
        """Answer one chat request; `key` is its request key (seeds, retry jitter)."""
        ...

    def sample(self) -> dict[str, float] | None:
        """Return what the server was doing of late, once each; None: nothing new is known."""
        ...

    async def aclose(self) -> None:
        """Give connections back."""
        ...


class EngineSpec(Protocol):
    """A small frozen description of an engine that pickles; opened on the worker."""

    def open(self) -> Engine:
        """Start or find what serves the model, and return a way to talk to it.

        Raises:
            EngineError: the engine cannot be started, or the configuration lacks something.
        """
        ...

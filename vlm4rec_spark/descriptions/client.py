"""An asynchronous client of OpenAI-compatible chat endpoints; failures are values."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.descriptions.engine import GENERATE, REQUEST, EngineFailure, Reply
from vlm4rec_spark.errors import EngineError

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

CHAT_PATH = "/v1/chat/completions"
RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT_S = 30.0
MESSAGE_CHARACTERS = 400


@dataclass(frozen=True)
class EndpointSpec:
    """One or more endpoints that serve the same model.

    `api_key_env` names the environment variable that holds the key; the key itself is read on the
    worker and never travels in a plan, a log or a table.
    """

    urls: tuple[str, ...]
    api_key_env: str | None = None
    timeout_s: float = 120.0
    attempts: int = 5
    first_wait_s: float = 0.5
    connections: int = 64

    def open(self) -> ChatClient:
        """Read the key and return a client; nothing is sent yet.

        Raises:
            EngineError: no URL is given, or the variable named is not set.
        """
        if not self.urls:
            raise EngineError(
                "describe.engine.kind is 'endpoint' but describe.engine.urls is empty; "
                "give at least one base URL."
            )
        key = None
        if self.api_key_env:
            key = os.environ.get(self.api_key_env)
            if not key:
                raise EngineError(
                    f"The environment variable {self.api_key_env}, named by "
                    "describe.engine.api_key_env, is not set where the Spark tasks run; "
                    "set it there (spark.executorEnv, or a cluster secret)."
                )
        return ChatClient(self, api_key=key)


@dataclass(frozen=True)
class Refusal:
    """One unsuccessful attempt, and whether another may help."""

    failure: EngineFailure
    is_final: bool
    wait_s: float = 0.0


class ChatClient:
    """Sends chat requests, retries what may pass, and reports the rest as failures."""

    def __init__(
        self,
        spec: EndpointSpec,
        *,
        api_key: str | None = None,
        socket: str | None = None,
        revive: Callable[[], object] | None = None,
    ) -> None:
        """Open connections lazily.

        Args:
            spec: where to and how patiently.
            api_key: the bearer token.
            socket: path of a unix socket that is used instead of the network.
            revive: called in a thread after a failed connection, to start a dead server again.
        """
        import httpx

        self._spec = spec
        self._secret = api_key
        self._revive = revive
        limits = httpx.Limits(
            max_connections=spec.connections, max_keepalive_connections=spec.connections
        )
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=socket, limits=limits) if socket else None,
            limits=limits,
            timeout=httpx.Timeout(spec.timeout_s, pool=None),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            follow_redirects=False,
        )
        self._urls = cycle([url.rstrip("/").removesuffix("/v1") for url in spec.urls])

    async def complete(self, body: dict[str, Any], key: str) -> Reply | EngineFailure:
        """Send one chat request; see `Engine.complete`."""
        rng = random.Random(key)  # noqa: S311 - jitter that is the same in every run
        content = json.dumps(body).encode()
        attempt = 0
        while True:
            outcome = await self._attempt(content)
            if isinstance(outcome, Reply):
                return outcome
            attempt += 1
            if outcome.is_final or attempt >= self._spec.attempts:
                return outcome.failure
            longest = min(LONGEST_WAIT_S, self._spec.first_wait_s * 2 ** (attempt - 1))
            await asyncio.sleep(max(outcome.wait_s, rng.uniform(longest / 2, longest)))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _attempt(self, content: bytes) -> Reply | Refusal:
        import httpx

        started = time.perf_counter()
        try:
            response = await self._http.post(
                next(self._urls) + CHAT_PATH,
                content=content,
                headers={"Content-Type": "application/json"},
            )
        except httpx.TimeoutException as error:
            return self._refused("timeout", f"no answer in time ({type(error).__name__})")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            await self._bring_back(error)
            return self._refused("connect", f"{type(error).__name__}: {error}")
        if response.status_code != httpx.codes.OK:
            return self._status_refused(response)
        return self._reply(response, 1000 * (time.perf_counter() - started))

    async def _bring_back(self, error: Exception) -> None:
        if self._revive is None:
            return
        logger.warning("The model server does not answer (%s); looking after it.", error)
        await asyncio.to_thread(self._revive)

    def _status_refused(self, response: httpx.Response) -> Refusal:
        status = response.status_code
        message = f"HTTP {status}: {_error_text(response)}"
        try:
            wait_s = float(response.headers.get("retry-after", 0))
        except ValueError:  # a date: the usual back-off is good enough
            wait_s = 0.0
        refusal = self._refused(f"http_{status}", message)
        is_final = status not in RETRIED_STATUS
        return Refusal(refusal.failure, is_final, max(0.0, min(wait_s, LONGEST_WAIT_S)))

    def _refused(self, code: str, message: str, stage: str = REQUEST) -> Refusal:
        # An endpoint may echo the key in its error; it must not reach a table.
        clean = message.replace(self._secret, "***") if self._secret else message
        return Refusal(EngineFailure(stage, code, clean[:MESSAGE_CHARACTERS]), is_final=False)

    def _reply(self, response: httpx.Response, latency_ms: float) -> Reply | Refusal:
        try:
            data = response.json()
            choice = data["choices"][0]
            text = choice["message"].get("content") or ""
            reason = str(choice.get("finish_reason") or "")
        except (ValueError, LookupError, TypeError, AttributeError):
            return self._refused("bad_reply", "the endpoint's answer is no chat completion")
        if not text:
            why = choice["message"].get("refusal") or f"finish_reason {reason or 'absent'}"
            failure = self._refused("empty", f"the model wrote no text: {why}", GENERATE).failure
            return Refusal(failure, is_final=True)
        usage = data.get("usage") or {}
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Reply(
            text,
            reason,
            int(usage.get("prompt_tokens") or 0),
            int(cached),
            int(usage.get("completion_tokens") or 0),
            latency_ms,
        )


def _error_text(response: httpx.Response) -> str:
    """Return the endpoint's own words about an error, in one line."""
    try:
        data = response.json()
        error = data.get("error", data)
        text = error.get("message", "") if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = response.text
    return " ".join(str(text).split()) or "no message"

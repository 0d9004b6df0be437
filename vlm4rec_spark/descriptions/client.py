"""An asynchronous client of OpenAI-compatible chat endpoints; failures are values."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.descriptions.endpoints import EndpointPool, base_of
from vlm4rec_spark.descriptions.engine import (
    MESSAGE_CHARACTERS,
    REQUEST,
    EngineFailure,
    Reply,
    unforeseen,
)
from vlm4rec_spark.descriptions.pacing import Pace
from vlm4rec_spark.descriptions.replies import (
    BUSY,
    FINAL,
    HttpAnswer,
    Refusal,
    read_answer,
    refusal,
)
from vlm4rec_spark.errors import EngineError

if TYPE_CHECKING:
    import aiohttp

CHAT_PATH = "/chat/completions"
LONGEST_WAIT_S = 30.0
TIMEOUT, CONNECT = "timeout", "connect"
KEPT_S = 4.0
"""How long an idle connection is kept: vLLM keeps it for 5 s, and must not be the first to go."""


@dataclass(frozen=True)
class EndpointSpec:
    """One or more endpoints that serve the same model.

    `api_key_env` names the environment variable that holds the key; the key itself is read on the
    worker and never travels in a plan, a log or a table. `attempts` bounds the tries of a request
    that meets errors; one that is only told to wait is repeated for `patience_s`. `connections`
    is the most requests in flight at one endpoint; the rates are per minute. All three are this
    task's share of the job's.
    """

    urls: tuple[str, ...]
    api_key_env: str | None = None
    timeout_s: float = 120.0
    attempts: int = 5
    first_wait_s: float = 0.5
    patience_s: float = 300.0
    connections: int = 64
    is_adaptive: bool = True
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    def open(self) -> ChatClient:
        """Read the key and return a client; nothing is sent yet.

        Raises:
            EngineError: no URL is given, or the variable named holds no usable key.
        """
        if not self.urls:
            raise EngineError(
                "describe.engine.kind is 'endpoint' but describe.engine.urls is empty; "
                "give at least one base URL."
            )
        key = _read_key(self.api_key_env) if self.api_key_env else None
        return ChatClient(self, api_key=key)


def _read_key(variable: str) -> str:
    """Return the key in a variable, without the line's end that a mounted secret has.

    Raises:
        EngineError: there is none, or it has characters that no header takes.
    """
    key = os.environ.get(variable, "").strip()
    named = f"The environment variable {variable}, named by describe.engine.api_key_env,"
    if not key:
        raise EngineError(
            f"{named} is not set where the Spark tasks run; "
            "set it there (spark.executorEnv, or a cluster secret)."
        )
    if not key.isprintable():
        raise EngineError(
            f"{named} holds a line's end or another control character inside the key; "
            "expected one line that holds the key alone: set it anew."
        )
    return key


class ChatClient:
    """Sends chat requests, retries what may pass, and reports the rest as failures."""

    def __init__(
        self,
        spec: EndpointSpec,
        *,
        api_key: str | None = None,
        socket: str | None = None,
        server_name: str = "",
    ) -> None:
        """Open connections lazily.

        Args:
            spec: where to and how patiently.
            api_key: the bearer token.
            socket: path of a unix socket that is used instead of the network.
            server_name: what replies name as their server; the host of the URL where empty.
        """
        self._spec = spec
        self._server_name = server_name
        self._secret = api_key
        self._socket = socket
        self._opened: aiohttp.ClientSession | None = None
        urls = [base_of(url) for url in spec.urls]
        self._pool = EndpointPool(urls, spec.connections, is_adaptive=spec.is_adaptive)
        self._pace = Pace(spec.requests_per_minute, spec.tokens_per_minute)

    async def complete(self, body: dict[str, Any], key: str) -> Reply | EngineFailure:
        """Send one chat request; see `Engine.complete`."""
        rng = random.Random(key)  # noqa: S311 - jitter that is the same in every run
        content = json.dumps(body).encode()
        started = time.monotonic()
        tries = errors = 0
        while True:
            outcome = await self._try(content)
            if isinstance(outcome, Reply):
                return outcome
            tries += 1
            is_busy = outcome.kind == BUSY
            errors += not is_busy
            is_tired = time.monotonic() - started > self._spec.patience_s
            if outcome.kind == FINAL or errors >= self._spec.attempts or (is_busy and is_tired):
                return outcome.failure
            longest = min(LONGEST_WAIT_S, self._spec.first_wait_s * 2.0 ** min(tries - 1, 16))
            if outcome.wait_s and self._pool.has_room:
                continue  # who asked for the wait is left alone meanwhile, another is free
            await asyncio.sleep(rng.uniform(longest / 2, longest))

    def sample(self) -> dict[str, float] | None:
        """Nothing is known of a server that is not ours."""
        return None

    async def aclose(self) -> None:
        """Close all connections."""
        if self._opened:
            await self._opened.close()

    def _session(self) -> aiohttp.ClientSession:
        """Return the open session; the first request, which runs on the loop, opens it."""
        import aiohttp

        if self._opened is None:
            # httpx, which the rest of the package uses, looks through all of a pool's connections
            # at each request: with 256 in flight, 20 ms of CPU for one instead of 0.4.
            self._opened = aiohttp.ClientSession(
                connector=self._connector(),
                timeout=aiohttp.ClientTimeout(self._spec.timeout_s),
                headers={"Authorization": f"Bearer {self._secret}"} if self._secret else {},
                trust_env=True,
            )
        return self._opened

    def _connector(self) -> aiohttp.BaseConnector:
        """Return what opens connections, as many as `EndpointPool` lets through."""
        import aiohttp
        import httpx

        if self._socket:
            return aiohttp.UnixConnector(self._socket, limit=0, keepalive_timeout=KEPT_S)
        # The certificates that pictures are fetched with, too.
        trusted = httpx.create_ssl_context()
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S, ssl=trusted)

    async def _try(self, content: bytes) -> Reply | Refusal:
        """Send the request once, when the rates allow it, to the endpoint with most room."""
        await self._pace.admit()
        endpoint = await self._pool.take()
        sent_at = time.monotonic()
        outcome: Reply | Refusal = refusal("cancelled", "the task was ended", FINAL)
        try:
            outcome = self._clean(await self._send(endpoint.url, content))
        except Exception as error:  # noqa: BLE001 - here, where the key can be taken out of it
            outcome = self._clean(Refusal(unforeseen(REQUEST, error), FINAL))
        finally:
            self._pool.give_back(endpoint, sent_at, outcome)
        if isinstance(outcome, Reply):
            self._pace.spent(outcome.tokens_in + outcome.tokens_out)
        return outcome

    async def _send(self, url: str, content: bytes) -> Reply | Refusal:
        import aiohttp

        started = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session().post(
                url + CHAT_PATH, data=content, headers=headers, allow_redirects=False
            ) as response:
                answer = HttpAnswer(
                    response.status, await response.read(), response.headers.get("Retry-After", "")
                )
        except asyncio.TimeoutError as error:
            return refusal(TIMEOUT, f"no answer in time ({type(error).__name__})")
        except (aiohttp.ClientError, OSError) as error:
            return refusal(CONNECT, f"{type(error).__name__}: {error}")
        outcome = read_answer(answer, 1000 * (time.perf_counter() - started))
        server = self._server_name or response.url.host or ""
        return replace(outcome, server=server) if isinstance(outcome, Reply) else outcome

    def _clean(self, outcome: Reply | Refusal) -> Reply | Refusal:
        """Take the key out of an error: an endpoint may echo it, and it must not reach a table."""
        if isinstance(outcome, Reply):
            return outcome
        message = outcome.failure.message
        if self._secret:  # before the cut, which could leave half of it
            message = message.replace(self._secret, "***")
        failure = replace(outcome.failure, message=message[:MESSAGE_CHARACTERS])
        return replace(outcome, failure=failure)

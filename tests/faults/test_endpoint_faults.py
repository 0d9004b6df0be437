"""Endpoints that drop connections, answer slowly, in garbage, or are busy for a while."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from vlm4rec_spark.descriptions.client import EndpointSpec
from vlm4rec_spark.descriptions.engine import EngineFailure, Reply

pytestmark = pytest.mark.faults

Serve = Callable[[int, asyncio.StreamWriter], Awaitable[None]]
REQUESTS = 40
COMPLETION = json.dumps(
    {"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}], "usage": {}}
)


def response(status: str, content: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode()


async def _read_request(reader: asyncio.StreamReader) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length")
    )
    await reader.readexactly(length)
    return True


def ask(serve: Serve, **changes: Any) -> tuple[list[Reply | EngineFailure], int]:
    """Send 40 requests to an endpoint that answers its n-th request by `serve`."""

    async def go() -> tuple[list[Reply | EngineFailure], int]:
        asked = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            try:
                while await _read_request(reader):
                    asked += 1
                    await serve(asked, writer)
                    await writer.drain()
            except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        spec = EndpointSpec(
            (f"http://127.0.0.1:{port}",), **{"first_wait_s": 0.02, "timeout_s": 0.5, **changes}
        )
        client = spec.open()
        found = await asyncio.gather(*(client.complete({}, str(n)) for n in range(REQUESTS)))
        await client.aclose()
        server.close()
        return list(found), asked

    return asyncio.run(go())


def count(found: list[Reply | EngineFailure]) -> dict[str, int]:
    kinds = ["ok" if isinstance(one, Reply) else one.code for one in found]
    return {kind: kinds.count(kind) for kind in kinds}


def test_dropped_connections_are_opened_again() -> None:
    async def serve(n: int, writer: asyncio.StreamWriter) -> None:
        if n % 4 == 0:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
            await writer.drain()
            writer.close()
        else:
            writer.write(response("200 OK", COMPLETION))

    found, _ = ask(serve)
    assert count(found) == {"ok": REQUESTS}


def test_garbage_is_asked_again_and_ends_as_an_error() -> None:
    async def sometimes(n: int, writer: asyncio.StreamWriter) -> None:
        writer.write(response("200 OK", "<html>" if n % 3 == 0 else COMPLETION))

    async def always(_n: int, writer: asyncio.StreamWriter) -> None:
        writer.write(response("200 OK", "\x00\x01"))

    assert count(ask(sometimes, attempts=8)[0]) == {"ok": REQUESTS}
    found, asked = ask(always, attempts=2)
    assert count(found) == {"bad_reply": REQUESTS}
    assert asked == 2 * REQUESTS


def test_an_endpoint_that_is_busy_for_a_while_loses_nothing_and_is_not_flooded() -> None:
    started = time.monotonic()
    times: list[float] = []

    async def serve(_n: int, writer: asyncio.StreamWriter) -> None:
        now = time.monotonic() - started
        times.append(now)
        is_busy = now < 2.0
        words = "slow down" if is_busy else COMPLETION
        writer.write(response("429 Too Many Requests" if is_busy else "200 OK", words))

    found, _ = ask(serve, attempts=2, first_wait_s=0.1)
    assert count(found) == {"ok": REQUESTS}
    refused = sum(moment < 2.0 for moment in times)
    assert refused < 8 * REQUESTS  # the waits double; without them there would be thousands


def test_a_slow_answer_is_waited_for_and_a_hanging_one_is_not() -> None:
    async def slow(_n: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(response("200 OK", COMPLETION))

    async def hanging(n: int, writer: asyncio.StreamWriter) -> None:
        if n == 7:
            await asyncio.sleep(30)
        writer.write(response("200 OK", COMPLETION))

    assert count(ask(slow)[0]) == {"ok": REQUESTS}
    started = time.monotonic()
    assert count(ask(hanging)[0]) == {"ok": REQUESTS}
    assert time.monotonic() - started < 10

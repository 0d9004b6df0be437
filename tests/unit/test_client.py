from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest

from tests.loopback import Answering, Loopback
from vlm4rec_spark.descriptions.client import EndpointSpec
from vlm4rec_spark.descriptions.engine import MESSAGE_CHARACTERS, EngineFailure, Reply
from vlm4rec_spark.descriptions.replies import BUSY, HttpAnswer, Refusal, read_answer
from vlm4rec_spark.errors import EngineError

SECRET = "sk-very-secret"
GOOD = {
    "choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}
Answer = tuple[int, Any, dict[str, str]]


@contextmanager
def endpoint(*answers: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve the answers one after another, the last one for ever; collect what was asked."""
    seen: list[dict[str, Any]] = []

    class Handler(Answering):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, data, headers = answers[min(len(seen), len(answers) - 1)]
            seen.append(
                {
                    "at": time.monotonic(),
                    "path": self.path,
                    "key": self.headers.get("Authorization"),
                    "body": json.loads(body),
                }
            )
            content = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.reply(status, content, **headers)

    with Loopback(Handler) as server:
        yield server.address, seen


def ask(spec: EndpointSpec) -> Reply | EngineFailure:
    async def go() -> Reply | EngineFailure:
        client = spec.open()
        try:
            return await client.complete({"messages": []}, "key")
        finally:
            await client.aclose()

    return asyncio.run(go())


def spec_for(url: str, **changes: Any) -> EndpointSpec:
    return EndpointSpec((url,), **{"first_wait_s": 0.01, "attempts": 3, **changes})


def test_a_reply_carries_its_figures() -> None:
    with endpoint((200, GOOD, {})) as (url, seen):
        reply = ask(spec_for(url + "/v1/"))
    assert isinstance(reply, Reply)
    assert (reply.text, reply.finish_reason) == ("{}", "stop")
    assert (reply.tokens_in, reply.tokens_cached, reply.tokens_out) == (9, 4, 2)
    assert reply.latency_ms > 0
    assert seen[0]["path"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1beta/openai/", "/v1beta/openai/chat/completions"),
        ("/serving-endpoints", "/serving-endpoints/chat/completions"),
    ],
)
def test_an_address_with_a_path_is_the_base_as_it_stands(base: str, path: str) -> None:
    with endpoint((200, GOOD, {})) as (url, seen):
        assert isinstance(ask(spec_for(url + base)), Reply)
    assert seen[0]["path"] == path


def test_busy_then_ready_is_a_reply() -> None:
    busy = (429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"})
    with endpoint(busy, (503, b"", {}), (200, GOOD, {})) as (url, seen):
        assert isinstance(ask(spec_for(url)), Reply)
    assert len(seen) == 3


def test_a_busy_server_is_left_alone_as_long_as_it_asks() -> None:
    with endpoint((429, {}, {"Retry-After": "0.5"}), (200, GOOD, {})) as (url, seen):
        assert isinstance(ask(spec_for(url)), Reply)
    assert seen[1]["at"] - seen[0]["at"] > 0.4  # without being asked, 0.01


def test_the_wait_asked_for_is_seconds_or_a_moment() -> None:
    def moment(days: int) -> str:
        return format_datetime(datetime.now(timezone.utc) + timedelta(days=days), usegmt=True)

    waits = {"": 0, "7": 7, "9000": 120, "soon": 0, moment(days=1): 120, moment(days=-1): 0}
    for given, wait_s in waits.items():
        refused = read_answer(HttpAnswer(429, b"", given), 1.0)
        assert isinstance(refused, Refusal)
        assert (refused.kind, refused.wait_s) == (BUSY, wait_s), given


def test_a_request_that_one_endpoint_refuses_goes_to_another_at_once() -> None:
    async def go(urls: tuple[str, ...]) -> None:
        client = EndpointSpec(urls, first_wait_s=60).open()
        for _ in range(4):
            assert isinstance(await client.complete({}, "key"), Reply)
        await client.aclose()

    busy: Answer = (429, {}, {"Retry-After": "60"})
    with endpoint(busy) as (one, refused), endpoint((200, GOOD, {})) as (two, answered):
        asyncio.run(asyncio.wait_for(go((one, two)), 25))  # any wait would be 30 s or more
    assert (len(refused), len(answered)) == (1, 4)


def seconds_of_six(**rates: float) -> float:
    """Return after how long the last of six requests of 11,000 tokens is sent."""
    long_answer = {**GOOD, "usage": {"prompt_tokens": 10_000, "completion_tokens": 1000}}

    async def go(url: str) -> None:
        client = EndpointSpec((url,), **rates).open()  # type: ignore[arg-type] # rates are floats
        await client.complete({}, "key")
        await asyncio.gather(*(client.complete({}, str(n)) for n in range(5)))
        await client.aclose()

    with endpoint((200, long_answer, {})) as (url, seen):
        started = time.monotonic()
        asyncio.run(go(url))
    return float(seen[-1]["at"] - started)


def test_requests_and_tokens_keep_to_their_rates() -> None:
    assert seconds_of_six(requests_per_minute=300) > 0.99  # all but the first wait for 0.2 s
    # The first answer takes 0.55 s of the rate; four more are then thought to take 0.1 s.
    assert seconds_of_six(tokens_per_minute=1_200_000) > 0.94


def test_a_server_that_stays_busy_is_a_failure_with_its_own_words() -> None:
    with endpoint((500, {"error": {"message": "out of memory"}}, {})) as (url, seen):
        failure = ask(spec_for(url))
    assert failure == EngineFailure("request", "http_500", "HTTP 500: out of memory")
    assert len(seen) == 3


def test_a_refusal_is_not_repeated() -> None:
    with endpoint((400, {"error": {"message": "bad picture"}}, {})) as (url, seen):
        failure = ask(spec_for(url))
    assert failure == EngineFailure("request", "http_400", "HTTP 400: bad picture")
    assert len(seen) == 1


def test_the_key_is_sent_and_never_repeated_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLM_TEST_KEY", SECRET)
    message = {"error": {"message": f"Incorrect API key provided: {SECRET}."}}
    with endpoint((401, message, {})) as (url, seen):
        spec = spec_for(url, api_key_env="VLM_TEST_KEY")
        failure = ask(spec)
    assert seen[0]["key"] == f"Bearer {SECRET}"
    assert isinstance(failure, EngineFailure)
    assert failure.code == "http_401"
    assert SECRET not in failure.message + repr(spec)


def test_a_missing_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLM_TEST_KEY", raising=False)
    with pytest.raises(EngineError, match="VLM_TEST_KEY"):
        spec_for("http://127.0.0.1:1", api_key_env="VLM_TEST_KEY").open()


def test_a_key_from_a_mounted_secret_is_sent_without_its_line_s_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLM_TEST_KEY", f" {SECRET}\r\n")
    with endpoint((200, GOOD, {})) as (url, seen):
        assert isinstance(ask(spec_for(url, api_key_env="VLM_TEST_KEY")), Reply)
    assert seen[0]["key"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("odd", ["\n", "\x1b", "\udc80"])
def test_a_key_that_no_header_takes_is_refused_without_being_shown(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLM_TEST_KEY", f"{SECRET}{odd}second")
    with pytest.raises(EngineError, match=r"VLM_TEST_KEY.*control character") as caught:
        spec_for("http://127.0.0.1:1", api_key_env="VLM_TEST_KEY").open()
    assert SECRET not in str(caught.value)


def test_an_error_nobody_foresaw_is_a_failure_without_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> Reply:
        raise KeyError(f"{'x' * (MESSAGE_CHARACTERS - 40)}{SECRET}")

    monkeypatch.setenv("VLM_TEST_KEY", SECRET)
    monkeypatch.setattr("vlm4rec_spark.descriptions.client.read_answer", broken)
    with endpoint((200, GOOD, {})) as (url, seen):
        failure = ask(spec_for(url, api_key_env="VLM_TEST_KEY"))
    assert isinstance(failure, EngineFailure)
    assert (failure.stage, failure.code, len(seen)) == ("request", "internal", 1)
    assert failure.message.startswith("KeyError at test_client.py:")
    assert SECRET[:6] not in failure.message


def test_nobody_there_is_a_failure() -> None:
    failure = ask(spec_for("http://127.0.0.1:1", attempts=2))
    assert isinstance(failure, EngineFailure)
    assert (failure.stage, failure.code) == ("request", "connect")


def test_an_answer_that_is_no_completion_is_a_failure() -> None:
    with endpoint((200, b"<html>login</html>", {})) as (url, _):
        failure = ask(spec_for(url, attempts=1))
    assert isinstance(failure, EngineFailure)
    assert failure.code == "bad_reply"


def test_an_answer_without_text_says_why() -> None:
    silent = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}
    with endpoint((200, silent, {})) as (url, seen):
        failure = ask(spec_for(url))
    assert isinstance(failure, EngineFailure)
    assert (failure.stage, failure.code) == ("generate", "empty")
    assert "content_filter" in failure.message
    assert len(seen) == 1


def test_requests_take_turns_over_the_endpoints() -> None:
    async def go(urls: tuple[str, ...]) -> None:
        client = EndpointSpec(urls).open()
        for _ in range(4):
            await client.complete({}, "key")
        await client.aclose()

    with endpoint((200, GOOD, {})) as (one, seen_one), endpoint((200, GOOD, {})) as (two, seen_two):
        asyncio.run(go((one, two)))
    assert (len(seen_one), len(seen_two)) == (2, 2)


def test_a_busy_endpoint_is_waited_for_longer_than_a_broken_one() -> None:
    busy: Answer = (429, {"error": {"message": "slow down"}}, {})
    with endpoint(*[busy] * 9, (200, GOOD, {})) as (url, seen):
        assert isinstance(ask(spec_for(url, attempts=2)), Reply)
    assert len(seen) == 10
    with endpoint(busy) as (url, seen):
        failure = ask(spec_for(url, attempts=2, patience_s=0.2))
    assert isinstance(failure, EngineFailure)
    assert failure.code == "http_429"


def test_log_probabilities_come_as_bytes() -> None:
    content = [
        {"token": "{", "bytes": [123], "logprob": -0.5},
        {"token": "}", "bytes": None, "logprob": -1},
    ]
    choice = {**GOOD["choices"][0], "logprobs": {"content": content}}  # type: ignore[index]
    with endpoint((200, {**GOOD, "choices": [choice]}, {})) as (url, _):
        reply = ask(spec_for(url))
    assert isinstance(reply, Reply)
    assert reply.tokens == ((b"{", -0.5), (b"}", -1.0))


def test_odd_log_probabilities_do_not_lose_the_answer() -> None:
    choice = {**GOOD["choices"][0], "logprobs": {"content": [{"token": "{"}]}}  # type: ignore[index]
    with endpoint((200, {**GOOD, "choices": [choice]}, {})) as (url, _):
        reply = ask(spec_for(url))
    assert isinstance(reply, Reply)
    assert reply.tokens == ()


def test_an_endpoint_that_is_gone_leaves_its_requests_to_the_others() -> None:
    async def go(urls: tuple[str, ...]) -> list[Reply | EngineFailure]:
        client = EndpointSpec(urls, first_wait_s=0.01).open()
        found = await asyncio.gather(*(client.complete({}, str(i)) for i in range(20)))
        await client.aclose()
        return found

    with endpoint((200, GOOD, {})) as (one, seen):
        found = asyncio.run(go(("http://127.0.0.1:1", one)))
    assert all(isinstance(reply, Reply) for reply in found)
    assert len(seen) == 20

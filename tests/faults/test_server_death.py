"""The model server dies or hangs: nothing is lost, the culprit is named, no process stays."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import model_server
from vlm4rec_spark.descriptions import lifeline
from vlm4rec_spark.descriptions.engine import EngineFailure, Reply
from vlm4rec_spark.descriptions.local import LocalClient, LocalSpec
from vlm4rec_spark.descriptions.server import MOST_DEATHS, LocalServer
from vlm4rec_spark.errors import EngineError

pytestmark = pytest.mark.faults


@dataclass(frozen=True)
class StandIn(LocalSpec):
    """A local engine whose server is our stand-in."""

    def command(self, socket: Path) -> list[str]:
        """Return the command line of the stand-in."""
        return [sys.executable, model_server.__file__, str(socket)]


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Return a specification whose files are in a folder of its own; end its server afterwards."""
    short = Path(f"/tmp/v4r-{os.getpid()}-{abs(hash(tmp_path)) % 10**6}")
    short.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(short))
    made = StandIn("stand-in", timeout_s=1.5, lease_s=20.0, start_timeout_s=30.0)
    yield made
    LocalServer(made).stop()
    wait_until_gone(processes(made))
    shutil.rmtree(short)


def processes(spec: StandIn) -> list[int]:
    """Return the living lifelines and servers of a specification."""
    try:
        pids = (spec.folder / "pids").read_text().strip("[]").split(",")
    except OSError:
        return []
    first = [int(pid) for pid in pids]
    return [pid for pid in {*first, *lifeline.descendants(first[0])} if lifeline.start_time(pid)]


def wait_until_gone(pids: list[int], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while any(lifeline.start_time(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.1)


def asked(spec: StandIn) -> list[tuple[str, str]]:
    """Return (server, words) of every request that reached a server."""
    lines = (spec.folder / "asked").read_text().splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def body(words: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}]}


async def ask(client: LocalClient, words: str) -> Reply | EngineFailure:
    return await client.complete(body(words), words)


def ask_all(spec: StandIn, words: list[str]) -> dict[str, Reply | EngineFailure]:
    async def go() -> dict[str, Reply | EngineFailure]:
        client = spec.open()
        try:
            found = await asyncio.gather(*(ask(client, word) for word in words))
            return dict(zip(words, found, strict=True))
        finally:
            await client.aclose()

    return asyncio.run(go())


def test_a_request_two_servers_died_of_is_poison_and_all_others_are_answered(
    spec: StandIn,
) -> None:
    words = [f"ok {n}" for n in range(20)]
    found = ask_all(spec, ["die", *words])
    poison = found.pop("die")
    assert isinstance(poison, EngineFailure)
    assert (poison.stage, poison.code) == ("generate", "poison")
    assert all(isinstance(reply, Reply) for reply in found.values())
    seen = asked(spec)
    assert Counter(word for _, word in seen)["die"] == 2
    # Alone at the second death: no innocent request was with it.
    second_server = [server for server, word in seen if word == "die"][1]
    before = [word for server, word in seen if server == second_server]
    assert before[-1] == "die"


def test_a_server_that_is_killed_is_started_again_and_nothing_is_lost(spec: StandIn) -> None:
    async def go() -> list[Reply | EngineFailure]:
        client = spec.open()
        old = processes(spec)
        asking = [asyncio.create_task(ask(client, f"ok {n}")) for n in range(30)]
        await asyncio.sleep(0.02)
        os.kill(old[-1], signal.SIGKILL)
        found = await asyncio.gather(*asking)
        wait_until_gone(old)
        await client.aclose()
        return list(found)

    assert all(isinstance(reply, Reply) for reply in asyncio.run(go()))


@pytest.mark.parametrize("victim", ["lifeline", "server"])
def test_nothing_stays_when_either_process_is_killed(spec: StandIn, victim: str) -> None:
    client = spec.open()
    lifeline_pid, *_ = [int(p) for p in (spec.folder / "pids").read_text().strip("[]").split(",")]
    below = processes(spec)
    target = lifeline_pid if victim == "lifeline" else next(p for p in below if p != lifeline_pid)
    os.kill(target, signal.SIGKILL)
    wait_until_gone(below)
    asyncio.run(client.aclose())


def test_a_server_that_hangs_is_started_again(spec: StandIn) -> None:
    found = ask_all(spec, ["hang-all", "ok 1", "ok 2"])
    poison = found.pop("hang-all")
    assert isinstance(poison, EngineFailure)
    assert poison.code == "poison"
    assert all(isinstance(reply, Reply) for reply in found.values())


def test_one_request_that_hangs_does_not_cost_the_server_its_life(spec: StandIn) -> None:
    async def go() -> tuple[Reply | EngineFailure, str, str]:
        client = spec.open()
        born = LocalServer(spec).birth()
        hanging = asyncio.create_task(client._once(body("hang"), "hang"))
        while not hanging.done():
            assert isinstance(await ask(client, "ok"), Reply)
        outcome, _ = await hanging
        await client.aclose()
        return outcome, born, LocalServer(spec).birth()

    outcome, before, after = asyncio.run(go())
    assert isinstance(outcome, EngineFailure)
    assert outcome.code == "timeout"
    assert before == after


def test_a_server_that_dies_again_and_again_ends_the_task_with_its_last_words(
    spec: StandIn,
) -> None:
    words = [f"die {n}" for n in range(MOST_DEATHS + 2)]
    with pytest.raises(EngineError, match=r"(?s)died 4 times.*killed by a picture"):
        ask_all(spec, words)


def test_deaths_under_another_application_do_not_count(spec: StandIn) -> None:
    server = LocalServer(spec)
    now = time.time()
    (spec.folder / "deaths").write_text("\n".join(f"{now:.3f} 1-1" for _ in range(9)))
    server.ensure()
    assert server.is_healthy()

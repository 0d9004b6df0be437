"""The model server dies or hangs: nothing is lost, the culprit is named, no process stays."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.stand_in import StandIn
from vlm4rec_spark.descriptions import lifeline
from vlm4rec_spark.descriptions.engine import EngineFailure, Reply
from vlm4rec_spark.descriptions.server import DEATHS_WITHIN_S, MOST_DEATHS, LocalServer
from vlm4rec_spark.errors import EngineError

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.local import LocalClient

pytestmark = pytest.mark.faults


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


def wait_until_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(lifeline.start_time(pid) for pid in pids), 10.0)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def asked(spec: StandIn) -> list[tuple[str, str]]:
    """Return (server, words) of every request that reached a server."""
    return [(server, words) for server, what, words in noted(spec) if what == "asked"]


def noted(spec: StandIn) -> list[tuple[str, str, str]]:
    """Return (server, asked or answered, words) in the order in which it happened."""
    lines = (line.split(" ", 2) for line in (spec.folder / "asked").read_text().splitlines())
    return [(server, what, words) for server, what, words in lines]


TASK = """
import sys
from tests.faults.test_server_death import ask_all
from tests.stand_in import StandIn
spec = StandIn("stand-in", timeout_s=60.0, lease_s=20.0, start_timeout_s=30.0)
print("ready", flush=True)
sys.stdin.readline()
spec.open()
found = ask_all(spec, sys.argv[1:])
print("open", *(type(outcome).__name__ for outcome in found.values()), flush=True)
sys.stdin.read()
"""


class Task:
    """A process of its own that uses the server, and is the owner as an executor would be."""

    def __init__(self, spec: StandIn, *words: str) -> None:
        """Start it; once it is told to go it asks for all the words together."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", TASK, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(spec.folder.parent.parent)},
        )

    def go(self) -> None:
        """Let it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def says(self) -> str:
        """Wait for its next line and return it; after the last one it stays."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        """End it as a lost executor ends."""
        self._process.kill()
        self._process.communicate()


def go_together(tasks: list[Task]) -> None:
    assert [task.says() for task in tasks] == ["ready"] * len(tasks)
    for task in tasks:
        task.go()


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
    async def go() -> tuple[Reply | EngineFailure, ...]:
        client = spec.open()
        hanging = asyncio.create_task(ask(client, "hang-all"))
        await asyncio.sleep(0.5)  # from now on it answers nobody
        others = [ask(client, f"ok {n}") for n in range(2)]
        found = await asyncio.gather(hanging, *others)
        await client.aclose()
        return tuple(found)

    poison, *others = asyncio.run(go())
    assert isinstance(poison, EngineFailure)
    assert poison.code == "poison"
    assert "timeout_s = 1.5 s without any answer" in poison.message
    assert all(isinstance(reply, Reply) for reply in others)


def test_a_request_that_hangs_while_another_task_is_answered_fails_alone(spec: StandIn) -> None:
    async def go() -> tuple[Reply | EngineFailure, str, str]:
        clients = spec.open(), spec.open()
        born = LocalServer(spec).birth()
        hanging = asyncio.create_task(ask(clients[0], "hang"))
        while not hanging.done():
            assert isinstance(await ask(clients[1], "ok"), Reply)
        for client in clients:
            await client.aclose()
        return await hanging, born, LocalServer(spec).birth()

    outcome, before, after = asyncio.run(go())
    assert isinstance(outcome, EngineFailure)
    assert outcome.code == "timeout"
    assert before == after
    assert Counter(word for _, word in asked(spec))["hang"] == 1


def test_what_is_answered_wrongly_for_ever_fails_alone(spec: StandIn) -> None:
    odd = {"garbage": "bad_reply", "drop": "connect", "err": "http_500"}
    found = ask_all(spec, [*odd, *(f"ok {n}" for n in range(10))])
    codes = {word: getattr(found.pop(word), "code", None) for word in odd}
    assert codes == odd
    assert all(isinstance(reply, Reply) for reply in found.values())
    assert len({server for server, _ in asked(spec)}) == 1


def test_after_a_death_the_requests_of_all_tasks_go_one_at_a_time(spec: StandIn) -> None:
    words = [f"wait {n}" for n in range(6)]
    tasks = [Task(spec, *words[:3]), Task(spec, *words[3:])]
    go_together(tasks)
    wait_until(lambda: (spec.folder / "asked").exists() and len(asked(spec)) == len(words))
    os.kill(int(asked(spec)[0][0]), signal.SIGKILL)
    assert [task.says() for task in tasks] == ["open Reply Reply Reply"] * 2
    for task in tasks:
        task.kill()
    first, *_ = noted(spec)
    again = [(what, word) for server, what, word in noted(spec) if server != first[0]]
    assert sorted(word for _, word in again) == sorted(2 * words)
    for asked_for, answered in zip(again[::2], again[1::2], strict=True):
        assert (asked_for[0], answered) == ("asked", ("answered", asked_for[1]))


def test_tasks_that_come_together_start_one_server_that_stays_for_the_last(spec: StandIn) -> None:
    tasks = [Task(spec) for _ in range(4)]
    go_together(tasks)
    assert [task.says() for task in tasks] == ["open"] * 4
    commands = [Path(f"/proc/{p}/cmdline").read_text() for p in lifeline.descendants(os.getpid())]
    assert sum(lifeline.__file__ in command for command in commands) == 1
    *others, last = tasks
    for task in others:
        task.kill()
    below = processes(spec)
    time.sleep(4 * lifeline.POLL_S)
    assert processes(spec) == below != []
    last.kill()
    wait_until_gone(below)


@pytest.mark.usefixtures("spec")
def test_a_server_that_never_listens_is_given_up_with_its_last_words() -> None:
    @dataclass(frozen=True)
    class Deaf(StandIn):
        def command(self, socket: Path) -> list[str]:
            says = f"import time; print('I load {socket.name}.', flush=True); time.sleep(60)"
            return [sys.executable, "-c", says]

    deaf = Deaf("deaf", start_timeout_s=2.0)
    with pytest.raises(EngineError, match=r"(?s)did not answer within 2 s.*I load socket\."):
        deaf.open()
    wait_until_gone(processes(deaf))


@pytest.mark.usefixtures("spec")
def test_a_server_that_ends_while_it_starts_is_told_with_the_cause_far_above() -> None:
    @dataclass(frozen=True)
    class Full(StandIn):
        def command(self, socket: Path) -> list[str]:
            says = f"print('(1) ValueError: No room for {socket.name}.\\n' + 99 * 'and so on\\n')"
            return [sys.executable, "-c", says]

    with pytest.raises(EngineError, match=r"(?s)ended while.*\nValueError: No room for socket\.\n"):
        Full("full").open()


def test_deaths_for_want_of_an_answer_name_the_limit_and_what_helps(spec: StandIn) -> None:
    told = "4 of them ended after describe.engine.timeout_s = 0.5 s without any answer; raise it"
    with pytest.raises(EngineError, match=re.escape(told)):
        ask_all(replace(spec, timeout_s=0.5), ["hang-all"] * 3)


def test_a_server_that_dies_again_and_again_ends_the_task_with_its_last_words(
    spec: StandIn,
) -> None:
    words = [f"die {n}" for n in range(MOST_DEATHS + 2)]
    with pytest.raises(EngineError, match=r"(?s)died 4 times.*killed by a picture"):
        ask_all(spec, words)


def test_old_deaths_do_not_count(spec: StandIn) -> None:
    server, mine = LocalServer(spec), f"{os.getpid()}-{lifeline.start_time(os.getpid())}"

    def note_deaths(age_s: float) -> None:
        lines = [f"{time.time() - age_s:.3f} {mine}"] * (MOST_DEATHS + 1)
        (spec.folder / "deaths").write_text("\n".join(lines))

    note_deaths(DEATHS_WITHIN_S - 60)
    with pytest.raises(EngineError, match="died 4 times"):
        server.ensure()
    note_deaths(DEATHS_WITHIN_S + 60)
    server.ensure()
    assert server.is_healthy()


def test_deaths_under_another_application_do_not_count(spec: StandIn) -> None:
    server = LocalServer(spec)
    now = time.time()
    (spec.folder / "deaths").write_text("\n".join(f"{now:.3f} 1-1" for _ in range(9)))
    server.ensure()
    assert server.is_healthy()


def test_an_idle_server_of_the_same_application_makes_room_and_one_in_use_stays(
    spec: StandIn,
) -> None:
    idle, used, other_gpu = (
        replace(spec, model=model, lease_s=120.0, devices=devices)
        for model, devices in (("idle", ("0",)), ("used", ("0",)), ("other-gpu", ("1",)))
    )
    for each in (idle, used, other_gpu):
        LocalServer(each).ensure()
    a_minute_ago = time.time() - 60.0
    for each in (idle, other_gpu):
        os.utime(each.folder / "lease", (a_minute_ago, a_minute_ago))
    LocalServer(replace(spec, devices=("0",))).ensure()
    wait_until_gone(processes(idle))
    assert processes(used)
    assert processes(other_gpu)
    for each in (used, other_gpu, replace(spec, devices=("0",))):
        LocalServer(each).stop()
        wait_until_gone(processes(each))

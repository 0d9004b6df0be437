from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vlm4rec_spark.descriptions import lifeline
from vlm4rec_spark.descriptions.server import owner_pid

SERVER = """
import os, subprocess, sys, time, pathlib
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                         start_new_session=True)
pathlib.Path("server").write_text(f"{os.getpid()} {child.pid}")
time.sleep(60)
"""


class Case:
    """One lifeline over a small 'server' with a child of its own, and an owner process."""

    def __init__(self, folder: Path, lease_s: float, server: str = SERVER) -> None:
        self.folder = folder
        (folder / "owners").mkdir()
        self.owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        name = f"{self.owner.pid}-{lifeline.start_time(self.owner.pid)}"
        (folder / "owners" / name).touch()
        (folder / "lease").touch()
        command = [sys.executable, "-c", server]
        self.lifeline = subprocess.Popen(
            [sys.executable, "-I", lifeline.__file__, str(folder), str(lease_s), *command],
            cwd=folder,
        )
        wait_for(lambda: bool((folder / "server").exists() and self._text()))
        self.pids = [int(pid) for pid in self._text().split()]

    def _text(self) -> str:
        return (self.folder / "server").read_text()

    def is_gone(self) -> bool:
        return all(lifeline.start_time(pid) is None for pid in self.pids)

    def end(self) -> None:
        for process in (self.owner, self.lifeline):
            process.kill()
            process.wait()
        for pid in self.pids:
            if lifeline.start_time(pid):
                os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Case]:
    made = Case(tmp_path, getattr(request, "param", 60.0))
    yield made
    made.end()


def test_the_server_and_its_children_end_when_the_owner_dies(case: Case) -> None:
    assert not case.is_gone()
    case.owner.kill()
    case.owner.wait()
    wait_for(case.is_gone)


def test_a_server_that_does_not_listen_is_gone_10_s_after_its_owner(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVER
    case = Case(tmp_path, 60.0, deaf)
    case.owner.kill()
    case.owner.wait()
    wait_for(lambda: case.is_gone() and case.lifeline.poll() is not None, 10.0)


@pytest.mark.parametrize("case", [1.0], indirect=True)
def test_the_server_ends_when_its_lease_ends(case: Case) -> None:
    wait_for(case.is_gone)


def test_the_server_ends_with_its_lifeline(case: Case) -> None:
    case.lifeline.kill()
    case.lifeline.wait()
    wait_for(lambda: lifeline.start_time(case.pids[0]) is None)


def test_a_touched_lease_and_a_living_owner_keep_the_server(case: Case) -> None:
    time.sleep(1.5)
    assert not case.is_gone()


def test_without_a_jvm_above_this_process_is_the_owner() -> None:
    assert owner_pid() == os.getpid()


def test_a_process_is_named_by_number_and_start() -> None:
    assert lifeline.start_time(os.getpid()) == lifeline.start_time(os.getpid())
    assert lifeline.start_time(2**22 + 1) is None

"""Finding the processes of a running job, by the part they play."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vlm4rec_spark.descriptions.lifeline import descendants, start_time

ENGINE = "VLLM::EngineCor"
"""How the kernel, which keeps 15 letters, names the process that runs the model."""

EXECUTOR = "CoarseGrainedExecutorBackend"
KINDS = ("driver", "jvm", "executor", "worker", "server", "engine", "reaper")
Named = tuple[int, str]
"""A process for good: its number, and when it started."""


@dataclass(frozen=True)
class Job:
    """A running job: its Python process, the workers of its cluster, and its temp folder.

    The model server's files are in the temp folder.
    """

    driver: int
    workers: tuple[int, ...]
    temp: Path

    def by_kind(self) -> dict[str, list[Named]]:
        """Return the living processes by the part they play."""
        found: dict[str, list[int]] = {kind: [] for kind in KINDS}
        found["driver"] = [self.driver]
        found["jvm"] = [pid for pid in descendants(self.driver) if _name(pid) == "java"]
        for pid in self._below_workers():
            if EXECUTOR in _command(pid):
                found["executor"].append(pid)
            elif "pyspark.daemon" in _command(_parent(pid)):
                found["worker"].append(pid)
        for reaper, server in self._servers():
            found["reaper"].append(reaper)
            found["server"].append(server)
            found["engine"] += [pid for pid in descendants(reaper) if _name(pid) == ENGINE]
        return {kind: sorted(_named(pids)) for kind, pids in found.items()}

    def everything(self) -> set[Named]:
        """Return every living process."""
        pids = [self.driver, *descendants(self.driver), *self._below_workers()]
        for reaper, _ in self._servers():
            pids += [reaper, *descendants(reaper)]
        return _named(pids)

    def _below_workers(self) -> list[int]:
        return [pid for worker in self.workers for pid in descendants(worker)]

    def _servers(self) -> list[tuple[int, int]]:
        """Return (reaper, server) of each model server that was started."""
        found = []
        for file in self.temp.glob("vlm4rec-*/*/pids"):
            with contextlib.suppress(ValueError):  # half written
                reaper, server = json.loads(file.read_text("utf-8"))
                found.append((reaper, server))
        return found


def living(processes: set[Named]) -> set[Named]:
    """Return those that still run."""
    return {(pid, started) for pid, started in processes if start_time(pid) == started}


def _named(pids: Iterable[int]) -> set[Named]:
    """Return those of the processes that still run."""
    return {(pid, started) for pid in pids if (started := start_time(pid))}


def _name(pid: int) -> str:
    return _read(pid, "comm").strip()


def _command(pid: int) -> str:
    return _read(pid, "cmdline").replace("\0", " ")


def _parent(pid: int) -> int:
    stat = _read(pid, "stat").rpartition(")")[2].split()
    return int(stat[1]) if stat else 0


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text("utf-8")
    except OSError:
        return ""

"""Finding the processes of a running job, by the part they play."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from vlm4rec_spark.descriptions.lifeline import descendants, start_time

ENGINE = "VLLM::EngineCor"
"""How the kernel, which keeps 15 letters, names the process that runs the model."""

KINDS = ("driver", "jvm", "worker", "server", "engine", "reaper")
Named = tuple[int, str]
"""A process for good: its number, and when it started."""


def processes_of(driver: int, temp: Path) -> dict[str, list[Named]]:
    """Return the living processes of a job by kind.

    Args:
        driver: its Python process.
        temp: the temp folder of the job, where the model server's files are.
    """
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    found["driver"] = [driver]
    for pid in descendants(driver):
        if _name(pid) == "java":
            found["jvm"].append(pid)
        elif "pyspark.daemon" in _command(_parent(pid)):
            found["worker"].append(pid)
    for file in temp.glob("vlm4rec-*/*/pids"):
        with contextlib.suppress(ValueError):
            reaper, server = json.loads(file.read_text("utf-8"))
            found["reaper"].append(reaper)
            found["server"].append(server)
            found["engine"] += [pid for pid in descendants(reaper) if _name(pid) == ENGINE]
    return {
        kind: [(pid, started) for pid in pids if (started := start_time(pid))]
        for kind, pids in found.items()
    }


def everything(driver: int, temp: Path) -> set[Named]:
    """Return every living process of a job."""
    of_server = [pid for pid, _ in processes_of(driver, temp)["reaper"]]
    pids = [driver, *descendants(driver), *of_server]
    pids += [below for pid in of_server for below in descendants(pid)]
    return {(pid, started) for pid in pids if (started := start_time(pid))}


def living(processes: set[Named]) -> set[Named]:
    """Return those that still run."""
    return {(pid, started) for pid, started in processes if start_time(pid) == started}


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

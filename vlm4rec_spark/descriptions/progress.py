"""How far the tasks of a slice are, in small files that the driver reads while they run.

Spark tells of a task only when it has ended, Spark Connect nothing but that, and a slice may take
an hour. So each task writes a few figures now and then into a folder that workers and driver
share, next to the index files. It is for people only: where there is no such folder, progress is
told at the ends of slices.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlm4rec_spark.descriptions.report import Tally

FIGURES = ("described", "failed", "tokens_in", "tokens_out")
STOP = "stop"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProgressSpec:
    """Where the tasks of one slice say how far they are, and every how many seconds."""

    folder: str
    every_s: float


class TaskProgress:
    """The figures of one task; a task that Spark repeats writes over those of its first try."""

    def __init__(self, spec: ProgressSpec | None, partition: int) -> None:
        """Start from nothing; figures are written each `every_s`, without a spec never."""
        self._every_s = spec.every_s if spec else float("inf")
        self._path = Path(spec.folder if spec else "") / f"{partition}.json"
        self._sums = dict.fromkeys(FIGURES, 0)
        self._servers: set[str] = set()
        self.is_stopped = False
        """Whether the driver has seen too much fail: no further request is worth its price."""
        self._due = time.monotonic() + self._every_s

    def count(self, row: dict[str, Any]) -> None:
        """Count a row of `descriptions_log`, and write where it is time."""
        self._sums["described" if row["status"] == "ok" else "failed"] += 1
        for name in ("tokens_in", "tokens_out"):
            self._sums[name] += row.get(name) or 0
        if row.get("server"):
            self._servers.add(row["server"])
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every_s
            self._write()

    def _write(self) -> None:
        draft = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            told = {**self._sums, "servers": sorted(self._servers)}
            draft.write_text(json.dumps(told), "utf-8")
            draft.replace(self._path)
            self.is_stopped = (self._path.parent / STOP).exists()
        except OSError as error:
            logger.info("No progress is told from here: %s", error)
            self._due = float("inf")


def so_far(folders: Iterable[str]) -> Tally:
    """Return what the tasks of some slices have written; nothing where it cannot be read."""
    tally, servers = Tally(), set[str]()
    for folder in folders:
        for path in Path(folder).glob("*.json"):
            try:
                told: dict[str, Any] = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError):
                continue
            servers.update(told.pop("servers"))
            tally += Tally(**told)
    return replace(tally, servers=len(servers))


def stop(folder: str) -> None:
    """Let the tasks of a slice send nothing more; what they have sent they bring to an end."""
    with contextlib.suppress(OSError):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / STOP).touch()


def clear(folder: str) -> None:
    """Remove the files of a run, and the folders that held nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for parent in list(Path(folder).parents)[:2]:
            parent.rmdir()

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm4rec_spark.descriptions.report import Tally

FIGURES = ("described", "failed", "tokens_in", "tokens_out")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProgressSpec:
    """Where the tasks of one slice say how far they are, and every how many seconds."""

    folder: str
    every_s: float


class TaskProgress:
    """The figures of one task; a task that Spark repeats writes over those of its first try."""

    def __init__(self, spec: ProgressSpec, partition: int) -> None:
        """Start from nothing; the first figures are written after `every_s`."""
        self._spec = spec
        self._path = Path(spec.folder) / f"{partition}.json"
        self._sums = dict.fromkeys(FIGURES, 0)
        self._due = time.monotonic() + spec.every_s

    def count(self, row: dict[str, Any]) -> None:
        """Count a row of `descriptions_log`, and write where it is time."""
        self._sums["described" if row["status"] == "ok" else "failed"] += 1
        for name in ("tokens_in", "tokens_out"):
            self._sums[name] += row.get(name) or 0
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._spec.every_s
            self._write()

    def _write(self) -> None:
        draft = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(self._sums), "utf-8")
            draft.replace(self._path)
        except OSError as error:
            logger.info("No progress is told from here: %s", error)
            self._due = float("inf")


def so_far(folders: Iterable[str]) -> Tally:
    """Return what the tasks of some slices have written; nothing where it cannot be read."""
    tally = Tally()
    for folder in folders:
        for path in Path(folder).glob("*.json"):
            try:
                told: dict[str, Any] = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError):
                continue
            tally += Tally(**told)
    return tally


def clear(folder: str) -> None:
    """Remove the files of a run, and the folders that held nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for parent in list(Path(folder).parents)[:2]:
            parent.rmdir()

"""Run the command line as a user does, and read the tables without Spark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from deltalake import DeltaTable

from vlm4rec_spark.session import SHORT_LIVED_JAVA, SMALL_DATA

Rows = list[dict[str, Any]]
SCRIPTS = Path(__file__).parents[2] / "jobs"
JOBS = """
import json, runpy, sys
from vlm4rec_spark.session import build_session
folder, conf, settings, *jobs = sys.argv[1:]
build_session("jobs", extra=json.loads(settings))
for job in jobs:
    sys.argv = [job, "--conf", conf]
    runpy.run_path(f"{folder}/{job}.py", run_name="__main__")
"""
COMMANDS = """
import json, sys
from vlm4rec_spark.cli import main
for command in sys.argv[1:]:
    if code := main(json.loads(command)):
        sys.exit(code)
"""
HANGS_AFTER_S = 1300.0
"""Many times what a command takes; below pytest's own limit, which would not show the log."""
RUN_COLUMNS = ("run_id", "updated_at", "first_seen", "described_at", "latency_ms")
"""What may differ between two runs that do the same."""


def vlm4rec(*commands: Sequence[str], folder: Path) -> str:
    """Run commands of `vlm4rec` in a folder, one after the other, and return what they printed.

    They share a process: one for each would start a JVM for each.

    Raises:
        AssertionError: a command failed or hung; the message holds the end of its log.
    """
    return _run(["-c", COMMANDS, *map(json.dumps, commands)], folder)


def run_jobs(
    conf: Path, master: str, *jobs: str, folder: Path, settings: Mapping[str, str] | None = None
) -> None:
    """Run scripts of jobs/ one after the other in one session.

    A process for each would start a JVM for each.

    Args:
        conf: file of the configuration.
        master: where Spark runs.
        jobs: names of scripts.
        folder: where the process runs.
        settings: further ones of Spark.

    Raises:
        AssertionError: a job failed or hung; the message holds the end of its log.
    """
    spark = json.dumps({**SMALL_DATA, "spark.master": master, **(settings or {})})
    _run(["-c", JOBS, str(SCRIPTS), str(conf), spark, *jobs], folder)


def _run(arguments: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={"JAVA_TOOL_OPTIONS": SHORT_LIVED_JAVA, **os.environ},
            capture_output=True,
            text=True,
            timeout=HANGS_AFTER_S,
            check=False,
        )
    except subprocess.TimeoutExpired as hung:
        log = (hung.stderr or b"").decode("utf-8", "replace")
        raise AssertionError(f"no end after {HANGS_AFTER_S:.0f} s:\n{log[-4000:]}") from None
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def write_conf(path: Path, settings: dict[str, Any]) -> Path:
    """Write a configuration file."""
    path.write_text(yaml.safe_dump(settings), "utf-8")
    return path


def read_table(folder: Path, name: str) -> Rows:
    """Return the rows of a table below `folder`, read without Spark, in a fixed order."""
    rows = DeltaTable(str(folder / name)).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: [str(row[key]) for key in sorted(row)])


def comparable(rows: Rows) -> Rows:
    """Drop what may differ between two runs."""
    kept = [{k: v for k, v in row.items() if k not in RUN_COLUMNS} for row in rows]
    return sorted(kept, key=str)

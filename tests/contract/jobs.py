"""Run the command line as a user does, and read the tables without Spark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from deltalake import DeltaTable

Rows = list[dict[str, Any]]
RUN_COLUMNS = ("run_id", "updated_at", "first_seen", "described_at", "latency_ms")
"""What may differ between two runs that do the same."""


def vlm4rec(*arguments: str | Path, folder: Path, timeout_s: float = 600) -> str:
    """Run `vlm4rec ARGUMENTS` in a folder and return what it printed.

    Raises:
        AssertionError: the command failed; the message holds the end of its log.
    """
    command = [sys.executable, "-m", "vlm4rec_spark.cli", *(str(a) for a in arguments)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False
    )
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

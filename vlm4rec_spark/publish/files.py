"""The folder of exports: one folder per run, and `latest.json`, written last, names the newest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

LATEST = "latest.json"


def run_folder(folder: str, run_id: str) -> Path:
    """Return the folder of a run; what an attempt that died left there is deleted."""
    path = Path(folder).absolute() / f"run-{run_id}"
    shutil.rmtree(path, ignore_errors=True)
    return path


def announce(folder: Path, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Name the folder as the newest; a reader that follows `latest.json` never sees half a run.

    Args:
        folder: what `run_folder` returned.
        tables: table -> format -> path below the folder.
    """
    content = {
        "run": folder.name,
        "published_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tables": {name: dict(paths) for name, paths in tables.items()},
    }
    partial = folder.parent / f".{LATEST}.partial"
    partial.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    partial.replace(folder.parent / LATEST)


def prune(folder: Path, keep: int) -> list[str]:
    """Delete all but the newest runs and return the names of what was deleted."""
    runs = sorted(folder.parent.glob("run-*"), key=lambda p: p.stat().st_mtime, reverse=True)
    old = [path for path in runs if path != folder][keep - 1 :]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in old)

"""What a benchmark prints at its end, and reads of one that it runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def rounded(value: Any, digits: int) -> Any:
    """Round the floats of a figure, also inside lists and dictionaries."""
    if isinstance(value, dict):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one, digits) for one in value]
    return round(value, digits) if isinstance(value, float) else value


def figures_of(module: str, *arguments: str) -> dict[str, Any]:
    """Run a module as a program; return the line of JSON among what it prints.

    vLLM's engine says good-bye on the same output.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found

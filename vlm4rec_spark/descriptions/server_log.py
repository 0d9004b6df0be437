"""What the log of a model server that failed says of the cause."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

LAST_LINES = 15
MOST_CAUSES = 5
CAUSE_CHARACTERS = 300
LONGEST_LINE = 2000
"""What is searched of a line: some hold a whole configuration."""

ERROR = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception): .*")
"""An exception's line, without what a logger or a process puts before it."""

SYMPTOMS = ("Engine core initialization failed", "EngineCore encountered an issue")
"""vLLM's front end on the end of its engine, whose own words stand far above."""


def words_of(log: Path) -> str:
    """Return the errors that the log names, and its last lines."""
    try:
        told = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        told = []
    # An empty line would end the message on its way through Spark.
    lines = [line for line in told if line.strip()]
    named = _causes(lines[:-LAST_LINES])
    causes = ["errors that it names:", *named] if named else []
    return "\n".join([*causes, "the last lines:", *lines[-LAST_LINES:]])


def _causes(lines: Sequence[str]) -> list[str]:
    """Return the last few errors, each once, in their order: later ones are nearer to the end."""
    found: dict[str, None] = {}
    for line in reversed(lines):
        match = ERROR.search(line[:LONGEST_LINE])
        if match and not any(symptom in match[0] for symptom in SYMPTOMS):
            found.setdefault(match[0][:CAUSE_CHARACTERS])
        if len(found) == MOST_CAUSES:
            break
    return [*found][::-1]

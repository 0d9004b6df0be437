"""What doctor finds: one line each, as it is told."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

State = Literal["ok", "bad", "note"]


@dataclass(frozen=True)
class Check:
    """One line of the table: what was looked at, how it is, and what was found or is to do."""

    what: str
    state: State
    found: str


def table(checks: list[Check]) -> str:
    """Return the checks as text, one a line."""
    width = max(len(check.what) for check in checks)
    return "\n".join(f"{check.state:4}  {check.what:{width}}  {check.found}" for check in checks)


def version_of(package: str) -> str:
    """Return the version that is installed; nothing where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"

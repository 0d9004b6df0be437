"""Reading YAML files that people write: each fault is one sentence."""

from __future__ import annotations

from pathlib import Path

import yaml

from vlm4rec_spark.errors import ConfigError


def read_yaml(path: Path, what: str) -> object:
    """Return the content of a YAML file, which is UTF-8 as all of ours are.

    Args:
        path: of the file.
        what: which file it is, for the message.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8 or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"The {what} {path} cannot be read: {reason}.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"The {what} {path} is not UTF-8 (line {line} holds the byte "
            f"{error.object[error.start]:#04x}); save it in that encoding."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # a date of month 13 is a ValueError
        raise ConfigError(f"The {what} {path} is not valid YAML: {_fault(error)}.") from error


def _fault(error: Exception) -> str:
    """Say in one line what the YAML parser stumbled over, and where."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())

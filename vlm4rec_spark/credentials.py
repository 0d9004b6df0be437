"""Secrets by reference: the configuration names them, only the moment of use knows them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vlm4rec_spark.errors import ConfigError

REFERENCE = re.compile(r"\$\{(env|secret):([^}]+)\}")
SHORTEST_HIDDEN = 4
"""Shorter values would blot out half of a message and are no secrets."""


def resolved(value: object) -> str:
    """Return an option's value as text, with its references replaced by what they stand for.

    `${env:NAME}` is an environment variable, `${secret:SCOPE/KEY}` a secret of Databricks.

    Raises:
        ConfigError: the variable is not set, or the secret cannot be read.

    >>> os.environ["DOCTEST_PASSWORD"] = "hush"
    >>> resolved("user=me&password=${env:DOCTEST_PASSWORD}")
    'user=me&password=hush'
    >>> resolved(8)
    '8'
    """
    return REFERENCE.sub(lambda match: _look_up(match[1], match[2].strip()), str(value))


def resolved_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Return reader or writer options as Spark takes them, references resolved."""
    return {name: resolved(value) for name, value in options.items()}


def is_reference(value: str) -> bool:
    """Tell whether the text is one reference and nothing else."""
    return REFERENCE.fullmatch(value) is not None


def secret_values(options: Mapping[str, Any]) -> list[str]:
    """Return what the references in the options stand for, to be kept out of messages."""
    found = [match for value in options.values() for match in REFERENCE.finditer(str(value))]
    return [_look_up(match[1], match[2].strip()) for match in found]


def hidden(text: str, values: Iterable[str]) -> str:
    """Return the text with every one of the values as '***'.

    >>> hidden("FATAL: no such user me:hush", ["hush"])
    'FATAL: no such user me:***'
    """
    for value in values:
        if len(value) >= SHORTEST_HIDDEN:
            text = text.replace(value, "***")
    return text


def _look_up(kind: str, name: str) -> str:
    if kind == "env":
        value = os.environ.get(name)
        if value is None:
            raise ConfigError(
                f"The configuration refers to ${{env:{name}}}, but the environment variable "
                f"{name} is not set; export it, or on a cluster set it in spark_env_vars."
            )
        return value
    return _databricks_secret(name)


def _databricks_secret(name: str) -> str:
    scope, slash, key = name.partition("/")
    if not (scope and slash and key):
        raise ConfigError(f"${{secret:{name}}}: expected the form ${{secret:SCOPE/KEY}}.")
    try:
        from databricks.sdk.runtime import dbutils

        return str(dbutils.secrets.get(scope=scope, key=key))
    except Exception as error:
        # The platform's own errors differ by runtime, and name what was asked for at most.
        raise ConfigError(
            f"${{secret:{name}}} cannot be read ({type(error).__name__}); secrets by scope exist "
            "on Databricks only, for whoever may read the scope. Elsewhere use ${env:NAME}."
        ) from error

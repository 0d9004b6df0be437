"""What Databricks serverless compute refuses, refused here, too.

Every Spark test runs under this, so each stage shows that it sets nothing on the session and caches
nothing. What Connect itself lacks (`rdd`, `sparkContext`) the runs on Connect refuse anyway.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import pytest
    from pyspark.sql import SparkSession

FRAME = ("cache", "persist", "checkpoint", "localCheckpoint", "createGlobalTempView",
         "createOrReplaceGlobalTempView")  # fmt: skip
CONF = ("set", "unset")
CATALOG = ("cacheTable", "uncacheTable", "clearCache")
STATEMENTS = re.compile(r"\s*(SET|RESET|CACHE|UNCACHE|CLEAR\s+CACHE)\b", re.IGNORECASE)


class ServerlessError(AssertionError):
    """Serverless compute would not do this."""


def refuse(session: SparkSession, patch: pytest.MonkeyPatch) -> None:
    """Make the session's classes refuse it until the patch is undone."""
    for owner, names in (
        (type(session.range(1)), FRAME),
        (type(session.conf), CONF),
        (type(session.catalog), CATALOG),
    ):
        for name in names:
            patch.setattr(owner, name, _refused(f"{owner.__name__}.{name}"))
    run = type(session).sql

    def sql(self: SparkSession, query: str, *args: Any, **named: Any) -> Any:
        if STATEMENTS.match(query):
            _refused(query)()
        return run(self, query, *args, **named)

    patch.setattr(type(session), "sql", sql)


def _refused(what: str) -> Any:
    def refused(*_: object, **__: object) -> NoReturn:
        raise ServerlessError(f"Serverless compute refuses {what}.")

    return refused

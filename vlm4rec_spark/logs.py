"""Logs for people and for machines, and the tags by which queries and lines find their run."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NOISY = ("py4j", "httpx", "httpcore", "urllib3")
_now_running: ContextVar[dict[str, str]] = ContextVar("now_running", default={})  # noqa: B039 - never changed in place


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the run and stage, where known."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; text of any kind stays on one line."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_now_running.get(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(*, verbose: bool = False, form: Literal["text", "json"] = "text") -> None:
    """Send the package's log to stderr; the command line's business, never the library's."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True
    )
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def tagged(spark: SparkSession, run_id: str, stage: str) -> Iterator[None]:
    """Tag the session's queries with `vlm4rec:RUN:STAGE`, and JSON log lines with both.

    The tag is seen in the Spark UI and in query listeners, and `spark.interruptTag` stops a stage.
    """
    tag = f"vlm4rec:{run_id}:{stage}".replace(",", "_")  # Spark refuses commas in tags
    token = _now_running.set({"run_id": run_id, "stage": stage})
    spark.addTag(tag)
    try:
        yield
    finally:
        spark.removeTag(tag)
        _now_running.reset(token)

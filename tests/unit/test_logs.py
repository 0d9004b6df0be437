"""Logs as JSON lines, with the run and the stage they belong to."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING
from unittest.mock import create_autospec

from vlm4rec_spark.logs import JsonFormatter, set_up, tagged

if TYPE_CHECKING:
    import pytest


class Session:
    """The two methods of a Spark session that tags need."""

    def addTag(self, tag: str) -> None:  # noqa: N802 - Spark's name
        """Add a tag."""

    def removeTag(self, tag: str) -> None:  # noqa: N802 - Spark's name
        """Remove a tag."""


def line(message: str) -> dict[str, str]:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, message, None, None)
    found: dict[str, str] = json.loads(JsonFormatter().format(record))
    return found


def test_a_line_carries_run_and_stage_while_the_stage_runs_and_not_afterwards() -> None:
    session = create_autospec(Session, instance=True)
    with tagged(session, "r,1", "topk"):
        during = line("hello")
    assert (during["message"], during["run_id"], during["stage"]) == ("hello", "r,1", "topk")
    assert "run_id" not in line("later")
    session.addTag.assert_called_once_with("vlm4rec:r_1:topk")
    session.removeTag.assert_called_once_with("vlm4rec:r_1:topk")


def test_hostile_text_cannot_start_a_line_of_its_own() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", ('a\n{"level":1}',), None)
    assert "\n" not in JsonFormatter().format(record)


def test_the_command_line_logs_json_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        set_up(form="json")
        logging.getLogger("vlm4rec_spark.test").info("rows=%d", 3)
        assert json.loads(capsys.readouterr().err)["message"] == "rows=3"
    finally:
        root.handlers[:] = before
        root.setLevel(level)

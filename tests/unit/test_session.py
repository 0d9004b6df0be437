"""What is said where Spark does not start."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from vlm4rec_spark.errors import SessionError
from vlm4rec_spark.session import _start

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class BrokenBuilder:
    """Fails as Java, Ivy or Connect do."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def getOrCreate(self) -> None:  # noqa: N802 - Spark's name
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory", "java"), "No such file or directory"),
        (
            RuntimeError("[JAVA_GATEWAY_EXITED] Java gateway process exited.\n\tat a.b.C"),
            "[JAVA_GATEWAY_EXITED] Java gateway process exited.",
        ),
        (
            RuntimeError("[unresolved dependency: io.delta#delta-spark_4.2_2.13;4.4.0: not found]"),
            "unresolved dependency: io.delta",
        ),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_without_java_or_network_one_sentence_says_what_to_look_at(
    error: Exception, reason: str
) -> None:
    builder = cast("SparkSession.Builder", BrokenBuilder(error))
    with pytest.raises(SessionError) as caught:
        _start(builder)
    told = str(caught.value)
    assert reason in told
    for words in ("vlm4rec doctor", "Java 17 or 21", "a network", "half-filled"):
        assert words in told
    assert "\n" not in told
    assert caught.value.__cause__ is error

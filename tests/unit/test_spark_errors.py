from __future__ import annotations

import pytest

from vlm4rec_spark.errors import (
    BusyError,
    ConfigError,
    EngineError,
    SparkMemoryError,
    StorageError,
    Vlm4RecError,
)
from vlm4rec_spark.spark_errors import WRITE_ATTEMPTS, despite_others, in_our_words, translated

CLASSIC = """An error occurred while calling o312.saveAsTable.
: org.apache.spark.SparkException: Job aborted due to stage failure: Lost task 0.3 in stage 9.0:
org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "vlm4rec_spark/descriptions/server.py", line 99, in ensure
    raise EngineError(self._report("ended while it started"))
vlm4rec_spark.errors.EngineError: The local vLLM server for 'm' ended while it started:
out of memory

\tat org.apache.spark.api.python.BasePythonRunner.handlePythonException(PythonRunner.scala:572)
"""


def test_an_error_of_a_worker_comes_back_as_it_was_raised() -> None:
    found = translated(RuntimeError(CLASSIC))
    assert isinstance(found, EngineError)
    assert str(found).startswith("The local vLLM server")
    assert str(found).endswith("out of memory")


def test_a_catalogue_that_spark_does_not_have_is_said_to_be_missing() -> None:
    text = "[REQUIRES_SINGLE_PART_NAMESPACE] spark_catalog requires a single-part namespace"
    with pytest.raises(ConfigError, match=r"leave tables\.catalog out"), in_our_words():
        raise RuntimeError(text)


def test_an_error_with_other_arguments_keeps_its_words() -> None:
    text = "x\nvlm4rec_spark.errors.MissingExtraError: The package 'vllm' is not installed"
    found = translated(RuntimeError(text))
    assert type(found) is Vlm4RecError
    assert "vllm" in str(found)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("java.io.IOException: No space left on device", StorageError),
        ("[DELTA_CONCURRENT_APPEND] ConcurrentAppendException: Files were added", BusyError),
        ("[DELTA_METADATA_CHANGED] The metadata of the table has been changed", BusyError),
        ("io.delta.exceptions.ProtocolChangedException: [DELTA_PROTOCOL_CHANGED]", BusyError),
        (": java.lang.OutOfMemoryError: Java heap space\n\tat java.base/x.y", SparkMemoryError),
        ("java.lang.OutOfMemoryError: GC overhead limit exceeded", SparkMemoryError),
        ("SparkOutOfMemoryError: [UNABLE_TO_ACQUIRE_MEMORY] 65536 bytes", SparkMemoryError),
        ("Not enough memory to build and broadcast the table to all", SparkMemoryError),
        ("Job 3 cancelled because SparkContext was shut down", SparkMemoryError),
        ("Error while sending or receiving", SparkMemoryError),
    ],
)
def test_trouble_while_committing_says_that_nothing_is_lost(
    text: str, kind: type[Vlm4RecError]
) -> None:
    with pytest.raises(kind, match="goes on from there") as caught, in_our_words():
        raise RuntimeError(text)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_where_java_has_too_little_memory_the_option_that_gives_more_is_named() -> None:
    for text in ("java.lang.OutOfMemoryError: Java heap space", "Answer from Java side is empty"):
        told = str(translated(RuntimeError(text)))
        for words in ("--spark-conf spark.driver.memory=8g", "spark.executor.memory", "--master"):
            assert words in told
        assert "\n" not in told


def test_a_gpu_without_memory_is_not_taken_for_java() -> None:
    assert translated(RuntimeError("torch.OutOfMemoryError: CUDA out of memory.")) is None


def test_what_is_not_known_is_left_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), in_our_words():
        raise ZeroDivisionError("x")
    with pytest.raises(EngineError), in_our_words():
        raise EngineError("x")


class Contested:
    """A write that fails so often."""

    def __init__(self, failures: int, text: str) -> None:
        self.failures, self.text, self.tries = failures, text, 0

    def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self.failures:
            raise RuntimeError(self.text)
        return "written"


def test_a_write_that_meets_another_writer_s_is_tried_again_for_a_while_and_no_other_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    conflict = "[DELTA_CONCURRENT_APPEND] Files were added"
    assert despite_others(Contested(2, conflict)) == "written"
    endless, other = Contested(99, conflict), Contested(99, "no such column")
    for write in (endless, other):
        with pytest.raises(RuntimeError, match=r"Files were added|no such column"):
            despite_others(write)
    assert (endless.tries, other.tries) == (WRITE_ATTEMPTS, 1)

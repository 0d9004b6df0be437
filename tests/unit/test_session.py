"""What is said where Spark does not start, or is there already."""

from __future__ import annotations

from typing import cast

import pytest
from pyspark.sql import SparkSession

from vlm4rec_spark import session
from vlm4rec_spark.errors import SessionError
from vlm4rec_spark.session import _start, apply_settings, build_session, runs_here


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


class Conf:
    """Takes settings of queries alone, as a session that runs does."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        if not key.startswith("spark.sql."):
            raise RuntimeError(f'[CANNOT_MODIFY_CONFIG] Cannot modify "{key}".\n\tat a.b.C')
        self.taken[key] = value


class Given:
    """A session that was there before us."""

    def __init__(self) -> None:
        self.conf = Conf()


class Builder:
    """Hands out one session; remembers what it was told."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.told: dict[str, str] = {}

    def appName(self, _: str) -> Builder:  # noqa: N802 - Spark's name
        return self

    def remote(self, _: str) -> Builder:
        return self

    def config(self, key: str, value: str) -> Builder:
        self.told[key] = value
        return self

    def getOrCreate(self) -> Given:  # noqa: N802 - Spark's name
        return self.given


ASKED = {
    "spark.sql.shuffle.partitions": "64",
    "spark.driver.memory": "8g",
    "spark.master": "local[2]",
    "spark.hadoop.fs.s3a.secret.key": "hush",
}


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Let sessions be built from one that is there."""
    found = Builder(Given())
    monkeypatch.setattr(SparkSession, "builder", found)
    return found


def test_a_session_that_is_there_takes_what_it_can_and_the_rest_is_named_without_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spark = Given()
    apply_settings(cast("SparkSession", spark), ASKED)
    assert spark.conf.taken == {"spark.sql.shuffle.partitions": "64"}
    told = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in told] == [key for key in ASKED if "sql" not in key]
    assert "[CANNOT_MODIFY_CONFIG]" in told[0]
    assert "cluster's Spark config, on the Connect server, or with spark-submit --conf" in told[0]
    assert not any("hush" in line or "\n" in line for line in told)


@pytest.mark.parametrize("place", ["databricks", "connect"])
def test_a_server_s_or_a_cluster_s_session_is_given_what_it_takes(
    place: str,
    builder: Builder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if place == "databricks":
        monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    build_session("x", remote="sc://host" if place == "connect" else None, extra=ASKED)
    assert builder.given.conf.taken == {"spark.sql.shuffle.partitions": "64"}
    assert not {"spark.driver.memory", "spark.master"} & builder.told.keys()
    assert "spark.driver.memory does not apply" in caplog.text


def test_under_spark_submit_only_what_java_started_with_does_not_apply(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    build_session("x", extra={**ASKED, "spark.executor.memory": "4g"})
    assert builder.told["spark.executor.memory"] == "4g"
    assert builder.told["spark.sql.shuffle.partitions"] == "64"
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("spark.driver.memory does not apply (spark-submit has started Java)")


def test_a_session_of_our_own_starts_with_every_setting(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "installed_delta_package", lambda: "io.delta:delta:1")
    build_session("x", remote="local[2]", extra={**ASKED, "spark.driver.memory": "16g"})
    assert builder.told["spark.driver.memory"] == "16g"
    assert builder.told["spark.jars.packages"] == "io.delta:delta:1"
    assert not caplog.records


def test_tasks_run_here_unless_a_cluster_or_a_server_is_named() -> None:
    assert runs_here(None, {})
    assert runs_here("local[2]", {"spark.master": "local[*]"})
    assert not runs_here("sc://host:15002", {})
    assert not runs_here(None, {"spark.master": "spark://host:7077"})

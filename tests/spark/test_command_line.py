"""Commands that look, from their arguments to what they print, over a session of the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm4rec_spark import preflight
from vlm4rec_spark.catalog.jdbc import POSTGRES_DRIVER
from vlm4rec_spark.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

pytestmark = pytest.mark.spark


@dataclass
class Started:
    """Gives out the session of the tests; remembers how it was asked for."""

    spark: SparkSession
    asked: dict[str, Any] = field(default_factory=dict)

    def __call__(self, _: str, **asked: object) -> SparkSession:
        self.asked = asked
        return self.spark


@pytest.fixture
def started(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Started:
    """Let commands start the session that is there."""
    session = Started(spark)
    monkeypatch.setattr("vlm4rec_spark.session.build_session", session)
    return session


def test_the_doctor_has_a_line_for_each_check_and_ends_with_1_where_one_is_bad(
    started: Started,
    names: TableNames,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for limit in ("MEMORY_BYTES", "DISK_BYTES_TO_RUN"):  # whatever runs the tests has enough
        monkeypatch.setattr(preflight, limit, 0)
    pq.write_table(pa.table({"item_id": ["a"], "title": ["A"]}), tmp_path / "items.parquet")
    conf = tmp_path / "shop.yml"
    conf.write_text(
        f"tables: {{schema: {names.schema}}}\n"
        f"sources: {{items: {{format: parquet, path: {tmp_path}/items.parquet}}}}\n"
        "embed: {model: demo}\n"
        "describe: {engine: {model: demo}}\n"
    )

    def examined(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
        """Return the exit status, and of each check its state and what was found."""
        status = main(["doctor", "--conf", str(conf), *arguments])
        lines = capsys.readouterr().out.splitlines()
        cells = [(line[:4].strip(), *line[6:].split("  ", 1)) for line in lines]
        return status, {what: (state, found.strip()) for state, what, found in cells}

    status, found = examined()
    assert set(found) >= {
        "system", "Python", "Java", "memory", "disk", "Spark and Delta", "sentence-transformers",
        "numba", "sqlglot", "scann", "jars", "GPU", "encoder", "VLM", "tables", "sources.items",
        "sources.interactions", "sources.users",
    }  # fmt: skip
    assert [line for line in found.items() if line[1][0] == "bad"] == []
    assert status == 0
    assert "Scala 2.13 (io.delta:delta-spark_4.2_2.13:" in found["Spark and Delta"][1]
    assert found["encoder"][1] == "demo: loads, 384 dimensions"
    assert found["sources.items"] == ("ok", f"{tmp_path}/items.parquet: 2 columns")
    assert found["sources.interactions"] == ("note", "not configured")
    assert started.asked == {"remote": None, "extra": {}, "packages": ()}

    status, found = examined(
        "--master", "local[3]", "--package", "com.shop:driver:1.0",
        "--set", f"embed.model={tmp_path}/no/model",
        "--set", "describe.engine={kind: endpoint, urls: ['http://127.0.0.1:9/v1'], model: m}",
        "--set", "sources.interactions={format: jdbc, table: public.events, "
        "options: {url: 'jdbc:postgresql://127.0.0.1:9/shop'}}",
    )  # fmt: skip
    assert {what for what, (state, _) in found.items() if state == "bad"} == {
        "encoder", "VLM endpoint", "sources.interactions",
    }  # fmt: skip
    assert "cannot read jdbc from public.events" in found["sources.interactions"][1]
    assert status == 1
    assert started.asked["packages"] == (POSTGRES_DRIVER, "com.shop:driver:1.0")
    assert started.asked["extra"] == {"spark.master": "local[3]"}

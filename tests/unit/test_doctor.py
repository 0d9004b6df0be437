"""What doctor says, part by part."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm4rec_spark.config import load_config
from vlm4rec_spark.doctor import Check, _endpoint, _jars, judge_pair, table
from vlm4rec_spark.session import delta_package, installed_delta_package


@pytest.mark.parametrize(
    ("spark", "delta", "state"),
    [
        ("4.2.0", "4.4.0", "ok"),
        ("4.2.0", "4.4.1", "bad"),
        ("4.3.0", "4.4.0", "bad"),
        ("4.2.0", "4.1.0", "note"),
    ],
)
def test_a_pair_of_versions_is_judged(spark: str, delta: str, state: str) -> None:
    assert judge_pair(spark, delta)[0] == state


def test_the_delta_jar_carries_the_spark_version_it_was_built_for() -> None:
    assert delta_package("4.2.0", "4.4.0") == "io.delta:delta-spark_4.2_2.13:4.4.0"
    assert delta_package("4.0.1", "4.0.0") == "io.delta:delta-spark_2.13:4.0.0"


def test_the_jar_of_another_pair_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    jars = tmp_path / ".ivy2" / "jars"
    jars.mkdir(parents=True)
    (jars / "io.delta_delta-spark_9.9_2.13-9.9.0.jar").touch()
    assert [check.state for check in _jars(load_config())] == ["note"]
    group, artifact, version = installed_delta_package().split(":")
    (jars / f"{group}_{artifact}-{version}.jar").touch()
    assert [check.state for check in _jars(load_config())] == ["ok"]


def test_a_missing_key_of_an_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_KEY", raising=False)
    engine = "describe.engine={kind: endpoint, urls: ['http://127.0.0.1:9'], api_key_env: SHOP_KEY}"
    checks = list(_endpoint(load_config(None, [engine])))
    assert [check.state for check in checks] == ["bad", "bad"]
    assert "SHOP_KEY is not set" in checks[0].found


def test_the_table_is_aligned() -> None:
    text = table([Check("a", "ok", "x"), Check("long", "note", "y")])
    assert text == "ok    a     x\nnote  long  y"

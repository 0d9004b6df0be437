"""The bundle: each file is what Databricks' own loader accepts, and what it names exists here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles import apps, experiments, jobs, schemas, volumes

from vlm4rec_spark import __version__
from vlm4rec_spark.cli import _parser

pytestmark = pytest.mark.contract
ROOT = Path(__file__).resolve().parents[2]
BUNDLE: dict[str, Any] = yaml.safe_load((ROOT / "databricks.yml").read_text("utf-8"))
FILES = sorted(file for pattern in BUNDLE["include"] for file in ROOT.glob(pattern))
LOADERS: dict[str, Any] = {
    "jobs": jobs.Job,
    "schemas": schemas.Schema,
    "volumes": volumes.Volume,
    "experiments": experiments.MlflowExperiment,
    "apps": apps.App,
}
RESOURCES = [
    (file, kind, name, data)
    for file in FILES
    for kind, named in yaml.safe_load(file.read_text("utf-8"))["resources"].items()
    for name, data in named.items()
]
JOBS = {name: data for _, kind, name, data in RESOURCES if kind == "jobs"}
APP = next(data for _, kind, _, data in RESOURCES if kind == "apps")


@pytest.mark.parametrize(
    ("file", "kind", "name", "data"), RESOURCES, ids=[f"{k}-{n}" for _, k, n, _ in RESOURCES]
)
def test_each_resource_is_accepted_as_it_stands(
    file: Path, kind: str, name: str, data: dict[str, Any]
) -> None:
    assert LOADERS[kind].from_dict(data).as_dict() == data, f"{file.name}: {name} was changed"


@pytest.mark.parametrize("name", JOBS)
def test_each_task_calls_a_script_of_ours_with_options_it_knows(name: str) -> None:
    for task in JOBS[name]["tasks"]:
        script = ROOT / "conf/databricks" / task["spark_python_task"]["python_file"]
        assert f'run_job("{script.stem}")' in script.read_text("utf-8")
        options = _parser().parse_args([script.stem, *task["spark_python_task"]["parameters"]])
        assert options.conf == "${var.conf}"


@pytest.mark.parametrize("name", JOBS)
def test_each_job_runs_once_at_a_time_waits_its_turn_retries_and_tells_failures(name: str) -> None:
    job = JOBS[name]
    assert job["max_concurrent_runs"] == 1
    assert job["queue"] == {"enabled": True}
    assert job["schedule"]["timezone_id"] == "UTC"
    assert job["email_notifications"]["on_failure"] == ["${var.notify}"]
    assert job["permissions"]
    clusters = {cluster["job_cluster_key"] for cluster in job.get("job_clusters", ())}
    environments = {e["environment_key"] for e in job.get("environments", ())}
    for task in job["tasks"]:
        assert task["max_retries"] >= 1
        assert (
            task.get("job_cluster_key") in clusters or task.get("environment_key") in environments
        )


def test_only_the_catalog_job_asks_for_a_gpu() -> None:
    with_gpu = [name for name, job in JOBS.items() if "gpu" in yaml.safe_dump(job).lower()]
    assert with_gpu == ["catalog"]


def test_the_app_shows_the_copy_in_a_volume_that_it_may_read_and_no_more() -> None:
    program, *words = APP["config"]["command"]
    assert program == "vlm4rec"
    options = _parser().parse_args(words)
    assert (options.host, options.port) == ("0.0.0.0", 8000)
    places = [options.copy, options.set[0].removeprefix("images.base=")]
    for granted, place in zip(APP["resources"], places, strict=True):
        securable = granted["uc_securable"]
        assert place == _folder_of(securable["securable_full_name"])
        assert (securable["securable_type"], securable["permission"]) == ("VOLUME", "READ_VOLUME")


def _folder_of(volume: str) -> str:
    """Return the path of a volume by its three names, which hold dots of their own."""
    return "/Volumes/" + "/".join(re.findall(r"\$\{[^}]+\}|[^.]+", volume))


def test_the_app_installs_the_wheel_that_the_bundle_builds() -> None:
    source = ROOT / "conf/databricks" / APP["source_code_path"]
    lines = (source / "requirements.txt").read_text("utf-8").splitlines()
    wheel = f"vlm4rec_spark-{__version__}-py3-none-any.whl"
    assert [line for line in lines if not line.startswith("#")] == [f"./{wheel}[preview]"]
    folder = source.resolve().relative_to(ROOT)
    assert BUNDLE["artifacts"]["package"]["build"].endswith(f"cp dist/*.whl {folder}/")
    assert BUNDLE["sync"]["include"] == [f"{folder}/*.whl"]


def test_there_are_three_targets_and_production_is_no_ones_own_folder() -> None:
    targets = BUNDLE["targets"]
    assert list(targets) == ["dev", "staging", "prod"]
    assert targets["dev"]["mode"] == "development"
    assert targets["prod"]["mode"] == "production"
    assert targets["prod"]["workspace"]["root_path"].startswith("/Workspace/Shared")


def test_every_variable_and_resource_that_is_used_is_declared() -> None:
    text = "".join(p.read_text("utf-8") for p in (ROOT / "databricks.yml", *FILES))
    assert set(re.findall(r"\$\{var\.(\w+)\}", text)) == set(BUNDLE["variables"])
    declared = {f"{kind}.{name}" for _, kind, name, _ in RESOURCES}
    assert set(re.findall(r"\$\{resources\.(\w+\.\w+)\.", text)) <= declared


def test_no_secret_stands_in_the_bundle() -> None:
    text = "".join(p.read_text("utf-8") for p in (ROOT / "databricks.yml", *FILES))
    assert not re.search(r"(?i)(password|token|api_key)\s*[:=]\s*[^\s\"{$]", text)


def test_the_loader_refuses_a_misspelt_field() -> None:
    with pytest.raises((TypeError, ValueError)):
        LOADERS["jobs"].from_dict({"name": "x", "taskz": []})

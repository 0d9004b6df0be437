"""The bundle file holds jobs that Databricks' own loader accepts, and they exist here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vlm4rec_spark.cli import _parser

jobs = pytest.importorskip("databricks.bundles.jobs")
ROOT = Path(__file__).resolve().parents[2]
BUNDLE: dict[str, Any] = yaml.safe_load((ROOT / "databricks.yml").read_text("utf-8"))


@pytest.mark.contract
@pytest.mark.parametrize("name", ["catalog", "recommend", "evidence"])
def test_each_job_is_accepted_and_calls_an_entry_point_with_options_it_knows(name: str) -> None:
    data = BUNDLE["resources"]["jobs"][name]
    job = jobs.Job.from_dict(data)
    assert job.as_dict() == data, "the loader dropped or changed a field"
    clusters = {cluster.job_cluster_key for cluster in job.job_clusters}
    for task, raw in zip(job.tasks, data["tasks"], strict=True):
        script = ROOT / task.spark_python_task.python_file
        assert f'run_job("{script.stem}")' in script.read_text("utf-8")
        assert task.job_cluster_key in clusters
        options = _parser().parse_args([script.stem, *raw["spark_python_task"]["parameters"]])
        assert options.conf == "${var.conf}"


@pytest.mark.contract
def test_every_variable_that_is_used_is_declared() -> None:
    text = (ROOT / "databricks.yml").read_text("utf-8")
    used = {part.split("}")[0] for part in text.split("${var.")[1:]}
    assert used == set(BUNDLE["variables"])


@pytest.mark.contract
def test_the_loader_refuses_a_misspelt_field() -> None:
    with pytest.raises((TypeError, ValueError)):
        jobs.Job.from_dict({"name": "x", "taskz": []})

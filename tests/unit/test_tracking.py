"""MLflow: a run per stage in a local store, and a job that does not fail with its server."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import mlflow
import pytest

from vlm4rec_spark.config import load_config
from vlm4rec_spark.runs import RunReport
from vlm4rec_spark.tracking import track

REPORT = RunReport("topk", {"users": 7}, {"audited_recall": 0.99}, 2.5, "search")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file:{tmp_path}/mlruns"


def only_run(client: mlflow.MlflowClient) -> mlflow.entities.Run:
    """Return the one run of the experiment."""
    experiment = client.get_experiment_by_name("recs")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def test_a_stage_becomes_a_run_with_parameters_metrics_and_its_report(store: str) -> None:
    options = "sources.items.options={password: hush-hush-77, url: 'jdbc:x'}"
    config = load_config(None, ["mlflow.experiment=recs", f"mlflow.tracking_uri={store}", options])
    track(config, "run-1", REPORT, {"git_commit": "abc", "nothing": None})
    client = mlflow.MlflowClient(tracking_uri=store)
    run = only_run(client)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"users": 7, "audited_recall": 0.99, "seconds": 2.5}
    assert run.data.params["topk.k"] == "100"
    assert run.data.tags["vlm4rec.stage"] == "topk"
    assert run.data.tags["vlm4rec.git_commit"] == "abc"
    assert sorted(a.path for a in client.list_artifacts(run.info.run_id)) == [
        "config.yml",
        "report.json",
    ]
    folder = Path(run.info.artifact_uri.removeprefix("file:"))
    assert json.loads((folder / "report.json").read_text("utf-8"))["bottleneck"] == "search"
    everything = json.dumps([run.data.params, run.data.tags])
    assert "hush-hush-77" not in everything


def test_an_evaluation_brings_every_metric_and_its_report_files(store: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("<p>told</p>")
    details = {f"all.kept.caption.NDCG@{n}": n / 4000 for n in range(1, 1500)}
    report = RunReport(
        "evaluation", {}, {}, 1.0, "", details={**details, "Gini": math.nan}, files=(page,)
    )
    config = load_config(None, ["mlflow.experiment=recs", f"mlflow.tracking_uri={store}"])
    track(config, "run-1", report, {})
    client = mlflow.MlflowClient(tracking_uri=store)
    run = only_run(client)
    assert run.data.metrics["all.kept.caption.NDCG_at_1000"] == 0.25
    assert len(run.data.metrics) == len(details) + 1
    assert "report.html" in {a.path for a in client.list_artifacts(run.info.run_id)}


def test_without_an_experiment_nothing_is_tracked(store: str, tmp_path: Path) -> None:
    track(load_config(None, [f"mlflow.tracking_uri={store}"]), "run-1", REPORT, {})
    assert not (tmp_path / "mlruns").exists()


def test_a_server_that_is_away_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = ["mlflow.experiment=recs", "mlflow.tracking_uri=http://127.0.0.1:9"]
    with caplog.at_level(logging.WARNING):
        track(load_config(None, settings), "run-1", REPORT, {})
    assert "MLflow did not take the run of stage topk" in caplog.text

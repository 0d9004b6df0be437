"""MLflow gets what the tables say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import mlflow

from vlm4rec_spark.evaluation.results import Result
from vlm4rec_spark.evaluation.tracking import track

if TYPE_CHECKING:
    import pytest


def test_a_run_with_metrics_settings_and_reports_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "report.md").write_text("# told")
    results = [
        Result("caption", "all", "kept", "everyone", "all", "NDCG@10", 0.25, 7),
        Result("caption", "all", "kept", "price", "low third", "NDCG@10", 0.5, 3),
    ]
    track("shop", "run-7", {"baseline": "title"}, results, reports)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("shop")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "run-7"
    assert run.data.metrics == {"all.kept.caption.NDCG_at_10": 0.25}
    assert run.data.params == {"baseline": "title"}
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.md"]

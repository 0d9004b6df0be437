"""Results to MLflow, when asked: settings, metrics of everyone, and the reports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vlm4rec_spark.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vlm4rec_spark.evaluation.results import Result


def track(
    experiment: str, run_id: str, settings: dict[str, str], results: Sequence[Result], folder: Path
) -> None:
    """Write one MLflow run, named like ours, where MLFLOW_TRACKING_URI points.

    Args:
        experiment: its name.
        run_id: name of the run.
        settings: parameters.
        results: those of everyone become metrics, 'pool.variants.arm.metric'.
        folder: report.html and report.md, kept as artifacts.

    Raises:
        MissingExtraError: mlflow is not installed.
    """
    try:
        import mlflow
    except ImportError as error:
        raise MissingExtraError("mlflow-skinny", "mlflow") from error
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=run_id):
        mlflow.log_params(settings)
        mlflow.log_metrics(
            {
                _name(f"{r.pool}.{r.variants}.{r.arm}.{r.metric}"): r.value
                for r in results
                if r.slice == "everyone"
            }
        )
        mlflow.log_artifacts(str(folder))


def _name(text: str) -> str:
    """Return a name as MLflow takes it: '@' and other signs become '_at_' and '_'."""
    return re.sub(r"[^\w./ -]", "_", text.replace("@", "_at_"))

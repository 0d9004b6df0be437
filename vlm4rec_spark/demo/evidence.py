"""The demo's evaluation and audit; made again only where something has changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm4rec_spark import __version__
from vlm4rec_spark.runs import git_commit

if TYPE_CHECKING:
    from vlm4rec_spark.pipeline import Pipeline
    from vlm4rec_spark.runs import RunReport

CHANGES = ("new", "changed", "left", "requests", "encoded", "list_rows_changed")
"""Counts of the two jobs that are 0 where nothing has changed."""
TOLD = ("caption", "title", "visual", "item_knn", "ease", "popular", "random", "oracle")


def evidence(
    pipeline: Pipeline, jobs: tuple[RunReport, RunReport], summary_file: Path
) -> dict[str, Any]:
    """Evaluate and audit, unless both reports are there and nothing has changed since.

    Args:
        pipeline: the demo's.
        jobs: what the catalog and the recommend job reported just now.
        summary_file: the summary of the run before, where there was one.

    Returns:
        evaluation and audit (paths of the pages), ndcg ('all_ARM' and 'cold_ARM' -> NDCG@k) and
        evidence_key, for the summary.
    """
    config = pipeline.context.config
    key = f"{config.content_hash()}-{__version__}-{git_commit()}"
    told = {
        "evaluation": str(Path(config.evaluate.report) / "report.html"),
        "audit": str(Path(config.audit.report) / "audit.html"),
    }
    before = json.loads(summary_file.read_text("utf-8")) if summary_file.is_file() else {}
    is_same = before.get("evidence_key") == key and not changes(jobs)
    if is_same and all(Path(page).is_file() for page in told.values()):
        return {**told, "ndcg": before["ndcg"], "evidence_key": key}
    figures = pipeline.evaluate().figures
    pipeline.audit()
    ndcg = {name.partition("ndcg_")[2]: round(value, 4) for name, value in figures.items()}
    return {**told, "ndcg": ndcg, "evidence_key": key}


def changes(jobs: Sequence[RunReport]) -> int:
    """Return how many things the jobs changed."""
    counts = [item for report in jobs for item in report.counts.items()]
    return sum(count for name, count in counts if name.rpartition(".")[2] in CHANGES)


def told(summary: dict[str, Any]) -> list[str]:
    """Return the evidence in words."""
    ndcg = summary["ndcg"]
    lines = ["  NDCG@10     whole catalogue, new items alone (synthetic shoppers)"]
    lines += [
        f"    {arm:10}{ndcg[f'all_{arm}']:>8.4f}{ndcg.get(f'cold_{arm}', 0.0):>10.4f}"
        for arm in TOLD
        if f"all_{arm}" in ndcg
    ]
    return [*lines, f"  evaluation  {summary['evaluation']}", f"  audit       {summary['audit']}"]

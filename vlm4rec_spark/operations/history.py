"""What the runs did: `runs` as lines for people, and as rows for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlm4rec_spark import delta
from vlm4rec_spark.tables import RUNS

if TYPE_CHECKING:
    from vlm4rec_spark.runs import RunContext

HEADER = ("started", "run", "stage", "seconds", "failed", "cost", "recall", "what took the time")
SLOW = 2.0
"""A stage that took this many times its usual time is marked."""


def history(context: RunContext, n: int, stage: str | None = None) -> list[dict[str, Any]]:
    """Return the newest n rows of `runs`, newest first, with the usual time of their stage.

    Adds `usual_seconds`, the median of the stage over the rows returned.
    """
    rows = delta.read(context.spark, RUNS, context.names)
    if stage:
        rows = rows.where(rows["stage"] == stage)
    newest = rows.orderBy(rows["started_at"].desc(), rows["stage"]).limit(n).collect()
    found = [row.asDict(recursive=True) for row in newest]
    for row in found:
        same = sorted(r["seconds"] for r in found if r["stage"] == row["stage"])
        row["usual_seconds"] = same[len(same) // 2]
    return found


def told(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table; '!' marks a stage that took twice its usual time."""
    lines = [HEADER, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    counts, figures = row["counts"] or {}, row["figures"] or {}
    slow = row["seconds"] > SLOW * row["usual_seconds"]
    failed = sum(value for name, value in counts.items() if name in {"failed", "images_failed"})
    recall = figures.get("audited_recall")
    cost = figures.get("cost")
    return (
        f"{row['started_at']:%Y-%m-%d %H:%M}",
        row["run_id"],
        row["stage"],
        f"{row['seconds']:,.1f}{' !' if slow else ''}",
        f"{failed:,}",
        "" if cost is None else f"{cost:,.2f}",
        "" if recall is None else f"{recall:.4f}",
        row["bottleneck"] or "",
    )

"""The settings that read a log of interactions from a folder, for the shops of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from vlm4rec_spark.delta import TableNames


def log_settings(names: TableNames, folder: Path, log: Path) -> list[str]:
    """Return settings: the tables' schema, an index below the folder, a Parquet log."""
    return [
        f"tables.schema={names.schema}",
        f"topk.index_path={folder}/index",
        "sources.interactions.format=parquet",
        f"sources.interactions.path={log}",
        "sources.interactions.columns.event_type=event_type",
    ]

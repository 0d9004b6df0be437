"""A log of interactions in a folder, and the settings that read it, for the shops of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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


def write_log(path: Path, rows: Sequence[Mapping[str, object]], files: int = 1) -> None:
    """Write a log as so many Parquet files, for Spark to read."""
    path.mkdir(parents=True)
    for number in range(files):
        pq.write_table(
            pa.Table.from_pylist([dict(row) for row in rows[number::files]]),
            path / f"{number}.parquet",
        )

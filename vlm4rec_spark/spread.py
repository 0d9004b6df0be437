"""Rows over as many tasks as are wanted, where a row is dear and small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def spread(df: DataFrame, tasks: int, *keys: str) -> DataFrame:
    """Return the rows in `tasks` partitions, equal keys together.

    By the keys themselves Spark leaves the exchange out where rows lie so already, after a join or
    a distinct on them into as many partitions, and those it merges while they are few bytes: one
    task would read all pictures while the other cores, or GPUs, stand still.
    """
    return df.repartition(tasks, F.xxhash64(*keys))

"""The synthetic shop of the evaluation's benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.evaluation.catalogue import ITEMS, write_catalogue

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import Column


def write_items(folder: Path, n_items: int, n_users: int) -> None:
    """Write a catalogue in which a tenth of the items are nobody's."""
    users = np.random.default_rng(0).geometric(0.05, n_items).clip(0, n_users // 10)
    users[-n_items // 10 :] = 0
    table = pa.table(
        {
            "item_id": [f"i{n:07d}" for n in range(n_items)],
            "users": users,
            "recent_users": users,
            "group_no": np.arange(n_items),
            "category": [f"c{n % 20}" for n in range(n_items)],
            "price": np.arange(n_items, dtype=np.float64),
        },
        schema=ITEMS,
    )
    write_catalogue(folder, table, n_users)


def user_id() -> Column:
    """Return the id of a user, from the column `id`."""
    return F.concat(F.lit("u"), F.col("id")).alias("user_id")


def item_id(number: str, n_items: int) -> Column:
    """Return the id of an item, from a number as SQL, of any size."""
    return F.format_string("i%07d", F.expr(f"pmod({number}, {n_items})")).alias("item_id")

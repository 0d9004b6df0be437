"""What others take for the same lists: Spark's ALS, and a cross join with a UDF.

Both only find ids and scores, hide nothing and write nothing ("noop"); ours masks, explains and
writes to Delta. Both are far too slow for all users: they run for some, with all items, at two
sizes after a warm-up, and what they take for all follows from the line through the two. So what
they take once, whatever the number of users, is not multiplied.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.ml.recommendation import ALSModel
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention
from pyspark.sql.pandas.functions import ArrowUDFType, arrow_udf

from tests.bench.processes import cpu_s

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger("bench")
PARTS = 4


@dataclass(frozen=True)
class Scaled:
    """CPU seconds for some users, and for more of them by the same line."""

    few: int
    few_s: float
    many: int
    many_s: float

    @property
    def a_user(self) -> float:
        """CPU seconds that one more user takes."""
        return (self.many_s - self.few_s) / (self.many - self.few)

    def at(self, users: int) -> float:
        """Return CPU seconds for so many users."""
        return self.many_s + self.a_user * (users - self.many)


def scaled(name: str, work: Callable[[int], None], users: int) -> Scaled:
    """Run for a quarter of the users to warm up, for a quarter, and for all of them."""
    few = max(1, users // 4)
    seconds = []
    for n in (few, few, users):
        before, started = cpu_s(), time.monotonic()
        work(n)
        seconds.append(cpu_s() - before)
        took = time.monotonic() - started
        logger.info("%s, %d users: %.1f CPU-s, %.1f s", name, n, seconds[-1], took)
    return Scaled(few, seconds[1], users, seconds[2])


def write_factors(users: DataFrame, items: DataFrame, folder: Path) -> None:
    """Write vectors as the folders that ALS keeps; both frames hold id INT, features."""
    for name, rows in (("userFactors", users), ("itemFactors", items)):
        rows.repartition(PARTS, "id").write.parquet(str(folder / name))


def als(spark: SparkSession, folder: Path, users: int, dimensions: int, k: int) -> None:
    """Recommend with Spark's own ALS to the first users, factors given.

    Args:
        spark: the session.
        folder: what `write_factors` wrote.
        users: how many.
        dimensions: rank of the factors.
        k: length of a list.
    """
    model = folder / f"als-{users}-{time.monotonic_ns()}"
    factors = spark.read.parquet(str(folder / "userFactors")).where(F.col("id") < users)
    factors.write.parquet(str(model / "userFactors"))
    (model / "itemFactors").symlink_to(folder / "itemFactors")
    about = {
        "class": "org.apache.spark.ml.recommendation.ALSModel",
        "timestamp": 0,
        "sparkVersion": spark.version,
        "uid": "ALS_bench",
        "paramMap": {},
        "defaultParamMap": {
            "userCol": "user", "itemCol": "item", "predictionCol": "prediction",
            "coldStartStrategy": "nan", "blockSize": 4096,
        },
        "rank": dimensions,
    }  # fmt: skip
    (model / "metadata").mkdir()
    (model / "metadata" / "part-00000").write_text(json.dumps(about) + "\n", "utf-8")
    lists = ALSModel.load(str(model)).recommendForAllUsers(k)
    lists.write.format("noop").mode("overwrite").save()


def inner_products(left: pa.Array, right: pa.Array) -> pa.Array:
    """Return the inner product of each two lists of floats, all of one length."""
    ours, theirs = (side.flatten().to_numpy().reshape(len(left), -1) for side in (left, right))
    return pa.array(np.einsum("ij,ij->i", ours, theirs))


def cross_join_udf(spark: SparkSession, folder: Path, users: int, k: int) -> None:
    """Score all pairs of the first users and all items in Python, and keep the best k by a window.

    Arrow on both sides of the UDF, and no shuffle for the join: the fastest form of its kind.

    Args:
        spark: the session.
        folder: what `write_factors` wrote.
        users: how many.
        k: length of a list.
    """
    product = arrow_udf(inner_products, "float", ArrowUDFType.SCALAR)
    some = spark.read.parquet(str(folder / "userFactors")).where(F.col("id") < users)
    some = some.select(F.col("id").alias("user"), F.col("features").alias("liked"))
    pairs = spark.read.parquet(str(folder / "itemFactors")).crossJoin(F.broadcast(some))
    scores = pairs.select("user", "id", product("liked", "features").alias("score"))
    place = F.row_number().over(Window.partitionBy("user").orderBy(F.desc("score"), "id"))
    lists = scores.withColumn("rank", place).where(F.col("rank") <= k)
    lists.write.format("noop").mode("overwrite").save()

"""Metrics of a million lists on Spark, and of a part of them by RecTools.

    make bench-evaluate
    make bench-evaluate USERS=200000 RECTOOLS=/tmp/rectools/bin/python

RecTools needs numpy < 2 (and pyarrow < 20), so it lives in an environment of its own; without
RECTOOLS only ours are measured. Both get the same Parquet files and compute NDCG, MAP, MRR, hit
rate, recall, precision, novelty, serendipity and ARP; ours also does slices and three more views.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from tests.bench.shop import item_id, user_id, write_items
from vlm4rec_spark.evaluation import plan
from vlm4rec_spark.evaluation.measure import UNITS, MeasureSpec
from vlm4rec_spark.session import build_session

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

K = 10
PEER = Path(__file__).with_name("rectools_metrics.py")


def main() -> None:
    """Make the data, measure them, print one line of JSON."""
    logging.basicConfig(level=logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--peer-users", type=int, default=100_000)
    parser.add_argument("--rectools", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spark = build_session(
            "bench-evaluate", extra={"spark.master": "local[2]"}, warehouse=str(folder / "spark")
        )
        write_items(folder / "catalogue", given.items, given.users)
        _write(spark, folder / "whole", given.users, given.items)
        _write(spark, folder / "part", given.peer_users, given.items)
        seconds, _ = _ours(spark, folder, "whole", given.users)
        part_seconds, ndcg = _ours(spark, folder, "part", given.peer_users)
        result: dict[str, object] = {
            "bench": "evaluate", "users": given.users, "items": given.items, "k": K,
            "seconds": round(seconds, 1), "rows_per_s": round(K * given.users / seconds),
            "part_users": given.peer_users, "part_seconds": round(part_seconds, 1),
        }  # fmt: skip
        if given.rectools:
            result |= _peer(given.rectools, folder, given.peer_users, ndcg, part_seconds)
    sys.stdout.write(json.dumps(result) + "\n")


def _write(spark: SparkSession, folder: Path, n_users: int, n_items: int) -> None:
    """Write lists and a test in which about half of the users find something."""
    users = spark.range(n_users).select(user_id(), F.xxhash64("id").alias("h"))
    ranks = F.explode(F.sequence(F.lit(1), F.lit(K))).alias("rank")

    def item(place: str) -> Column:
        return item_id(f"h + 7919L * ({place})", n_items)

    users.select("user_id", "h", ranks).select(
        F.lit("bench").alias("arm"), F.lit("all").alias("pool"), F.lit("kept").alias("variants"),
        "user_id", "rank", item("rank"),
    ).write.parquet(str(folder / "lists"))  # fmt: skip
    wanted = F.explode(F.array(F.expr("1 + pmod(h, 20)"), F.lit(77))).alias("place")
    users.select("user_id", "h", wanted).select(
        "user_id", item("place"), F.expr("CAST(pmod(h, 40) AS INT)").alias("age_days"),
        F.expr("1 + pmod(h, 50)").alias("n_history"), F.lit(False).alias("is_variant"),
    ).write.parquet(str(folder / "truth"))  # fmt: skip


def _ours(spark: SparkSession, folder: Path, part: str, n_users: int) -> tuple[float, float]:
    """Return seconds and NDCG."""
    lists, truth = (spark.read.parquet(str(folder / part / name)) for name in ("lists", "truth"))
    units = max(1, n_users // UNITS)
    spec = MeasureSpec(str(folder / "catalogue"), (("bench", ()),), K, users_a_unit=units)
    started = time.monotonic()
    found = _summed(plan.measured(lists, truth, n_users, spec))
    return time.monotonic() - started, found


def _summed(measured: DataFrame) -> float:
    """Aggregate all that the evaluation aggregates, and return NDCG of everyone."""
    rows = plan.sums(measured).toArrow().to_pylist()
    mine = [
        row for row in rows
        if (row["slice"], row["pool"], row["variants"]) == ("everyone", "all", "kept")
    ]  # fmt: skip
    return float(sum(row["NDCG"] for row in mine) / sum(row["n"] for row in mine))


def _peer(
    python: str, folder: Path, n_users: int, ndcg: float, seconds: float
) -> dict[str, object]:
    command = [python, str(PEER), str(folder / "part"), str(folder / "catalogue" / "items.arrow")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    theirs = json.loads(ran.stdout.strip().splitlines()[-1])
    return {
        "rectools_seconds": round(theirs["seconds"], 1),
        "rectools_rows_per_s": round(K * n_users / theirs["seconds"]),
        "same_ndcg": abs(theirs["ndcg"] - ndcg) < 1e-6,
        "ratio": round(theirs["seconds"] / seconds, 2),
    }


main()

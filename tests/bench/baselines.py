"""Lists for millions of users by the baselines that need no words: popularity, item-kNN, EASE.

    make bench-baselines
    make bench-baselines USERS=10000000

Synthetic: five events of each user at random, four views of every list, as an evaluation makes
them. Popularity lists from a large catalogue, item-kNN and EASE from one within EASE's limit; the
pairs of items they learn from are counted on Spark. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from tests.bench.shop import item_id, user_id, write_items
from vlm4rec_spark.evaluation import plan
from vlm4rec_spark.evaluation.arms import Arm, LinearArm, NeighbourArm, PopularArm
from vlm4rec_spark.evaluation.catalogue import save_array
from vlm4rec_spark.evaluation.models import Pairs, check_pairs, ease, neighbours
from vlm4rec_spark.evaluation.ranking import RankSpec
from vlm4rec_spark.session import build_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame, SparkSession

K, EVENTS, NEIGHBOURS, REGULARISATION = 10, 5, 20, 100.0
LEARNED: dict[str, Arm] = {
    "item_knn": NeighbourArm("item_knn", NEIGHBOURS),
    "ease": LinearArm("ease", "ease"),
}


def main() -> None:
    """Make the events, list for everybody, print one line of JSON."""
    logging.basicConfig(level=logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--learned-items", type=int, default=2_000)
    parser.add_argument("--arms", nargs="+", default=["popular", *LEARNED])
    given = parser.parse_args()
    result: dict[str, object] = {"bench": "baselines", "k": K, "events": EVENTS, **vars(given)}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        spark = build_session(
            "bench-baselines", extra={"spark.master": "local[2]"}, warehouse=str(folder / "spark")
        )
        at, n = folder / "learned", given.users
        if "popular" in given.arms:
            whole = _history(spark, folder / "whole", n, given.items)
            result["popular_seconds"] = _listed(PopularArm("popular"), whole, folder / "whole", n)
        if LEARNED.keys() & set(given.arms):
            learned = _history(spark, at, n, given.learned_items)
            result["learn_seconds"] = _timed(partial(_learn, learned, at, n))
        for name in LEARNED.keys() & set(given.arms):
            result[f"{name}_seconds"] = _listed(LEARNED[name], learned, at, n)
        result["driver_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(json.dumps(result) + "\n")


def _timed(work: Callable[[], None]) -> float:
    started = time.monotonic()
    work()
    return round(time.monotonic() - started, 1)


def _history(spark: SparkSession, folder: Path, n_users: int, n_items: int) -> DataFrame:
    """Write a catalogue and the events of all users over it; return the events."""
    write_items(folder / "catalogue", n_items, n_users)
    place = F.explode(F.sequence(F.lit(1), F.lit(EVENTS))).alias("place")
    spark.range(n_users).select("id", place).select(
        user_id(),
        item_id("xxhash64(id) + 104729L * place", n_items),
        F.lit(1.0).alias("weight"),
        F.lit(True).alias("seen"),
    ).write.parquet(str(folder / "history"))
    return spark.read.parquet(str(folder / "history"))


def _learn(history: DataFrame, folder: Path, n_users: int) -> None:
    """Count the pairs on Spark, and write both models from them on the driver."""
    catalogue = str(folder / "catalogue")
    found = plan.pairs(history, n_users, catalogue).toArrow()
    check_pairs(len(found))
    pairs = Pairs.of(*(found[name].to_numpy() for name in ("left", "right", "users", "shared")))
    n = 1 + int(pairs.left.max())
    save_array(folder / "catalogue", "model-item_knn", neighbours(pairs, n, NEIGHBOURS))
    save_array(folder / "catalogue", "model-ease", ease(pairs, n, REGULARISATION))


def _listed(arm: Arm, history: DataFrame, folder: Path, n_users: int) -> float:
    """List for everybody in all four views, and return the seconds it took."""

    def work() -> None:
        spec = RankSpec(str(folder / "catalogue"), (arm,), K)
        rows = plan.lists(history, n_users, spec).agg(F.count("*")).collect()[0][0]
        if rows < n_users:
            raise RuntimeError(f"{arm.name}: {rows:,} rows of lists for {n_users:,} users")

    return _timed(work)


main()

"""The describe stage against vLLM's own offline `LLM.chat` and the usual Spark recipe.

    make bench-describe
    make bench-describe PICTURES=300 ROUNDS=2 SIDE=192

The same distinct pictures of synthetic products, the demo model, the same flags and words. In every
round, one after the other, another one first each time: the whole stage (find out what to send,
read, decode, request, log, merge) with a server that already runs; `LLM.chat`, all in one call, on
pictures that were decoded and resized beforehand; `mapInPandas` with one `LLM.chat` per batch of
64, which reads and decodes them. Each round has pictures of its own, so that no cache helps. The
model's engine computes on one core, everything else runs on the other; a quiet machine is needed,
as time is by the clock. Loading the model is left out everywhere. What Spark and Delta take to
begin and to end is in, some fifteen seconds on one core however many pictures there are, with the
demo's settings for small data. A rate counts good answers only. Ends with one line of JSON: ratios
of the median rates.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import describe_peers
from tests.bench.describe_peers import (
    MODEL_CORE,
    OTHER_CORE,
    SIDE,
    config,
    pin,
    pin_apart,
    running_server,
    write_shop,
)
from tests.bench.figures import figures_of
from vlm4rec_spark.catalog import job as catalog_job
from vlm4rec_spark.delta import TableNames
from vlm4rec_spark.descriptions import job as describe_job
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.session import SMALL_DATA, build_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.descriptions.server import LocalServer

WARM_UP = 8
LEASE_S = 3600

logger = logging.getLogger("bench")


def start_server() -> LocalServer:
    """Start the server that the stage will find: its engine on one core, the rest on the other."""
    server = running_server(config(f"describe.engine.lease_s={LEASE_S}"))
    (lifeline, *_) = json.loads((server.socket.parent / "pids").read_text("utf-8"))
    pin_apart(lifeline)
    return server


def stage(spark: SparkSession, shop: Path, schema: str) -> tuple[int, float]:
    """Describe a shop; return rows described, and the stage's seconds."""
    settings = [
        f"tables.schema={schema}",
        "sources.items.format=parquet",
        f"sources.items.path={shop}/items.parquet",
        "sources.items.columns.category=category",
        f"describe.engine.lease_s={LEASE_S}",
    ]
    context = RunContext(spark, config(*settings), TableNames(None, schema), "bench")
    catalog_job.run(context)
    started = time.monotonic()
    report = describe_job.run(context)
    taken = time.monotonic() - started
    logger.info("the stage: %.1f s, %s", taken, report.bottleneck)
    return report.counts["described"], taken


def offline(shop: Path) -> tuple[int, float]:
    """Describe a shop with vLLM alone; return rows that are JSON, and seconds."""
    found = figures_of("tests.bench.describe_peers", str(shop))
    return found["answers"], found["seconds"]


def main() -> None:
    """Measure, and print one line of JSON."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=SIDE, help="of a picture, in pixels")
    given = parser.parse_args()
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = str(MODEL_CORE)
    rates: dict[str, list[float]] = {"stage": [], "offline": [], "recipe": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        firsts = [WARM_UP + number * given.pictures for number in range(given.rounds)]
        warm_up = write_shop(folder / "warm_up", WARM_UP, 0, given.side)
        shops = [write_shop(folder / f"shop_{f}", given.pictures, f, given.side) for f in firsts]
        server = start_server()
        pin(os.getpid(), OTHER_CORE)  # what the JVM and its Python workers inherit
        try:
            extra = {"spark.master": "local[2]", **SMALL_DATA}
            spark = build_session("bench-describe", extra=extra, warehouse=str(folder / "tables"))
            stage(spark, warm_up, "warm_up")
            for number, shop in enumerate(shops):
                each = [
                    ("stage", partial(stage, spark, shop, f"round_{number}")),
                    ("offline", partial(offline, shop)),
                    ("recipe", partial(describe_peers.recipe, spark, shop, f"recipe_{number}")),
                ]
                for turn in range(len(each)):
                    who, describe = each[(number + turn) % len(each)]
                    rows, seconds = describe()
                    logger.info("%s: %d good rows in %.1f s", who, rows, seconds)
                    rates[who].append(rows / seconds)
            spark.stop()
        finally:
            server.stop()
    sys.stdout.write(json.dumps(summary(rates, given)) + "\n")


def summary(rates: dict[str, list[float]], given: argparse.Namespace) -> dict[str, float]:
    """Return the ratios of the median rates, and the best ones beside them."""
    middle = {who: statistics.median(each) for who, each in rates.items()}
    best = {who: max(each) for who, each in rates.items()}
    return {
        "vs_vllm_offline": round(middle["stage"] / middle["offline"], 3),
        "vs_sync_recipe": round(middle["stage"] / middle["recipe"], 3),
        "pictures": given.pictures,
        "pictures_per_s": round(middle["stage"], 2),
        "vs_vllm_offline_best": round(best["stage"] / best["offline"], 3),
        "vs_sync_recipe_best": round(best["stage"] / best["recipe"], 3),
        "rounds": given.rounds,
        "side": given.side,
    }


if __name__ == "__main__":
    main()

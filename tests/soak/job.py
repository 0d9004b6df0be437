"""The job that `make soak` kills: ingest and describe a folder of pictures, on a cluster.

Run as `python -m tests.soak.job FOLDER ENGINE MASTER`; ENGINE is `vllm`, `stand-in` or the URL of
an endpoint, MASTER the address of a standalone cluster, of which the job takes two executors of one
core.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path

from tests.soak import endpoint, server
from tests.stand_in import StandIn
from vlm4rec_spark.catalog import job as catalog_job
from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions import job as describe_job
from vlm4rec_spark.descriptions import specs
from vlm4rec_spark.lease import Lease
from vlm4rec_spark.pipeline import Pipeline
from vlm4rec_spark.session import SMALL_DATA, build_session

LOCAL = (
    "describe.engine.max_num_seqs=8",
    "describe.engine.lease_s=30",
    "describe.slice_rows=40",
)
"""Settings of a job with model servers of its own."""


def main() -> None:
    """Run once; the tables stay in FOLDER/tables."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder, engine, master = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if engine == "stand-in":
        # What the fault needs: the one place that makes one.
        vars(specs)["LocalSpec"] = partial(StandIn, program=server.__file__)
    settings = [
        "tables.schema=soak",
        f"tables.location={folder}/tables",
        "sources.items.format=parquet",
        f"sources.items.path={folder}/items.parquet",
        "sources.items.columns.category=category",
        "describe.attributes=fashion",
        "describe.engine.model=demo",
        *(endpoint.settings(engine) if engine.startswith("http") else LOCAL),
    ]
    spark = build_session(
        "soak",
        extra={
            **SMALL_DATA,
            "spark.master": master,
            "spark.executor.cores": "1",
            "spark.cores.max": "2",
        },
        warehouse=str(folder / "warehouse"),
    )
    context = Pipeline(spark, load_config(None, settings)).context
    with Lease(context, "catalog_job").held():
        catalog_job.run(context)
        describe_job.run(context)


if __name__ == "__main__":
    main()

"""What the rest of the catalogue will take, told from a sample of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vlm4rec_spark import delta
from vlm4rec_spark.descriptions.duplicates import FOLLOWERS
from vlm4rec_spark.descriptions.estimate import Sample, estimate, pictures_per_s, told
from vlm4rec_spark.descriptions.job import pending, read_tables, run
from vlm4rec_spark.tables import DESCRIPTIONS_LOG

if TYPE_CHECKING:
    from vlm4rec_spark.runs import RunContext


def estimate_stage(context: RunContext, sample: int) -> list[str]:
    """Describe a sample of what is pending, and return in words what the rest and all will take.

    The sample's answers are kept: the next run does not send them again. Requests that take a
    near-duplicate's answer cost nothing and are not counted.

    Raises:
        EngineError: the model server or endpoint cannot be used at all.
        FailureRateError: more of the sample failed than allowed.
    """
    counts = run(context, sample).counts
    took = _sample(context)
    if took is None:
        return [
            f"Nothing to estimate: {counts['wanted']:,} requests wanted, none was answered now."
        ]
    waiting, copied = _free(context)
    prices, rate = context.config.describe.cost, pictures_per_s(took)
    told_rate = f"{rate.value:.2f} pictures/s ({rate.low:.2f} to {rate.high:.2f})"
    on = f"{took.servers} server(s) of {took.gpus} GPU(s)"
    return [
        f"Sample: {len(took):,} requests, {told_rate}, {on}; 95 % intervals.",
        *told("Still pending", estimate(took, counts["left"] - waiting, prices)),
        *told("The whole catalogue", estimate(took, counts["wanted"] - waiting - copied, prices)),
    ]


def _sample(context: RunContext) -> Sample | None:
    """Return what the requests took that this run sent; None where none was answered."""
    log = delta.read(context.spark, DESCRIPTIONS_LOG, context.names)
    answered = log.where((log["run_id"] == context.run_id) & log["latency_ms"].isNotNull())
    figures = ("tokens_in", "tokens_out", "latency_ms / 1000", "unix_micros(described_at) / 1e6")
    rows = answered.selectExpr(*figures, "size(picture_hashes)", "server").collect()
    if not rows:
        return None
    tokens_in, tokens_out, latency_s, at, pictures = (
        np.array([row[n] for row in rows], np.float64) for n in range(5)
    )
    seconds = max(float(at.max() - (at - latency_s).min()), 1e-9)
    servers = {row["server"] or "" for row in rows}
    # A local server's name ends in its GPUs, where Spark gave it some.
    gpus = max(server.count("/") for server in servers)
    return Sample(
        *(tokens_in, tokens_out, latency_s, seconds, len(servers)),
        gpus=max(gpus, context.config.describe.engine.tensor_parallel or 1),
        pictures=float(pictures.mean()),
    )


def _free(context: RunContext) -> tuple[int, int]:
    """Return how many requests wait for a near-duplicate's answer, and how many have one."""
    if context.config.describe.near_duplicates is None:
        return 0, 0
    items, descriptions, _ = read_tables(context)
    followers = delta.read(context.spark, FOLLOWERS, context.names)
    waiting = pending(context).join(followers, "request_key", "left_semi")
    copied = descriptions.where("copied_from IS NOT NULL").join(items, "request_key", "left_semi")
    return waiting.count(), copied.count()

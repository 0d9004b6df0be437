"""Engines against the exact blocked matrix product, in one process and on one core.

Synthetic vectors, d = 384, k = 100, queries are user profiles. CPU seconds are user and system time
of this process, so that other load on the machine matters little. `scann_vs_bare` compares the
engine with ScaNN called by itself at the same width.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from vlm4rec_spark.benchmarks.data import DIMENSIONS, Vectors, items_and_users
from vlm4rec_spark.topk.audit import recall_of
from vlm4rec_spark.topk.engines import scann
from vlm4rec_spark.topk.engines.choice import Sample, tuned
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.interface import Engine, Masks
from vlm4rec_spark.topk.engines.leaves import build_leaves
from vlm4rec_spark.topk.engines.list_major import WIDEST, ListMajorEngine

logger = logging.getLogger(__name__)
K = 100
SAMPLED = 500
ROUNDS = 3
"""In which ScaNN is timed through the engine and by itself, in turn; the median ratio counts."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds a call takes in this process, and what it returns."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


@dataclass(frozen=True)
class Setting:
    """Rows in leaf order, queries, and what exact search costs for them."""

    vectors: Vectors
    queries: Vectors
    truth: Sample
    exact_s: float
    """CPU seconds a query."""

    def measured(self, engine: Engine) -> tuple[float, float]:
        """Return how many times less CPU than exact search an engine takes, and its recall."""
        users = len(self.queries)
        masks = Masks.nothing(users, len(self.vectors))
        warm = min(64, users)
        engine.nearest(self.queries[:warm], K, Masks.nothing(warm, len(self.vectors)))
        seconds, found = cpu_seconds(lambda: engine.nearest(self.queries, K, masks))
        some = found[: len(self.truth.exact)]
        recall = recall_of(self.vectors, self.truth.queries, some, self.truth.exact)
        return self.exact_s * users / seconds, recall.mean


def sgemm_seconds(vectors: Vectors, queries: Vectors) -> float:
    """Return CPU seconds of one inner product inside large matrix products."""
    rows = vectors[:16_384]
    queries @ rows.T
    seconds, _ = cpu_seconds(lambda: [queries @ rows.T for _ in range(4)])
    return seconds / (4 * len(queries) * len(rows))


def run(n: int, users: int) -> dict[str, Any]:
    """Measure all engines at n items."""
    logger.info("drawing %d items and %d users", n, users)
    items, queries = items_and_users(n, users + 2 * SAMPLED)
    build_leaves(items[:25_000])  # compiles
    build_s, (leaves, order) = cpu_seconds(lambda: build_leaves(items))
    vectors = np.ascontiguousarray(items[order])
    exact = ExactEngine(vectors)
    exact.nearest(queries[:64], K, Masks.nothing(64, n))
    some, tune = queries[: min(users, 1024)], queries[users : users + SAMPLED]
    product_s = sgemm_seconds(vectors, some)
    seconds, found = cpu_seconds(lambda: exact.nearest(some, K, Masks.nothing(len(some), n)))
    product_s = (product_s + sgemm_seconds(vectors, some)) / 2
    truth = Sample(some, Masks.nothing(len(some), n), vectors, found)
    setting = Setting(vectors, queries[:users], truth, seconds / len(some))
    sample = Sample.of(tune, Masks.nothing(len(tune), n), vectors, K)
    answer: dict[str, Any] = {"items": n, "users": users, "list_major_build_cpu_s": build_s}
    answer["exact_vs_sgemm"] = product_s * n / setting.exact_s
    for target in (0.99, 0.999):
        name = f"list_major_{str(target)[2:]}"
        width, _ = tuned(lambda w: ListMajorEngine(vectors, leaves, w), sample, WIDEST, target)
        answer[f"{name}_x"], answer[f"{name}_recall"] = setting.measured(
            ListMajorEngine(vectors, leaves, width)
        )
        answer[f"{name}_width"] = width
        logger.info("%s: %s", name, answer)
    return answer | (_scann(setting, sample) if scann.installed() else {})


def _scann(setting: Setting, sample: Sample) -> dict[str, Any]:
    """Measure ScaNN at recall .99, through the engine and by itself."""
    n = len(setting.vectors)
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = cpu_seconds(lambda: scann.build_index(setting.vectors, Path(folder)))
        files = scann.ScannFiles(folder)
    width, _ = tuned(lambda w: files.opened(setting.vectors, w), sample, scann.leaves_of(n), 0.99)
    engine = files.opened(setting.vectors, width)
    times, recall = setting.measured(engine)
    depth = K + scann.MARGIN
    options = {"final_num_neighbors": depth}
    if n >= scann.BRUTE_FORCE_BELOW:
        scored = scann.candidates_scored(depth, K, n)
        options |= {"leaves_to_search": width, "pre_reorder_num_neighbors": scored}
    # By itself, ScaNN scores its candidates with a copy of the vectors.
    alone = scann.builder(setting.vectors).reorder(2 * K).build()
    alone.search_batched(setting.queries[:64], **options)
    masks, ratios = Masks.nothing(len(setting.queries), n), []
    for _ in range(ROUNDS):
        ours, _ = cpu_seconds(lambda: engine.nearest(setting.queries, K, masks))
        bare, _ = cpu_seconds(lambda: alone.search_batched(setting.queries, **options))
        ratios.append(ours / bare)
    return {
        "scann_x": times,
        "scann_recall": recall,
        "scann_width": width,
        "scann_vs_bare": statistics.median(ratios),
        "scann_build_cpu_s": seconds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=10_000)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if any(os.environ.get(name) != "1" for name in THREADS):
        # BLAS reads them when it is loaded, which has happened: start this program again.
        os.environ.update(dict.fromkeys(THREADS, "1"))
        again = [sys.executable, "-m", "vlm4rec_spark.benchmarks.topk", *sys.argv[1:]]
        os.execv(sys.executable, again)  # noqa: S606 - fixed words and our own arguments
    answer = run(options.items, options.users)
    facts = {
        "data": "synthetic", "dimensions": DIMENSIONS, "k": K, "cores": os.cpu_count(),
        "blas_threads": 1, "numpy": np.__version__, "numba": version("numba"),
    }  # fmt: skip
    figures = {key: round(v, 4) if isinstance(v, float) else v for key, v in answer.items()}
    sys.stdout.write(json.dumps(figures | facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

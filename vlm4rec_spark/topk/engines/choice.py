"""Which engine, how wide it must search, and how well it then finds what exact search finds."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from vlm4rec_spark.topk.audit import Recall, recall_of
from vlm4rec_spark.topk.engines import scann
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.leaves import ONE_LEAF_BELOW
from vlm4rec_spark.topk.engines.list_major import WIDEST, ListMajorEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm4rec_spark.topk.engines.interface import Engine, Masks, PartedEngine, Rows, Vectors
    from vlm4rec_spark.topk.snapshot import Snapshot

logger = logging.getLogger(__name__)
SCANNED = {"list_major": 0.07, "scann": 0.13}
"""Cost of a query at 100,000 rows as a part of exact search, recall .99 to .999 (measured, see
`make bench-topk`); it falls with the square root of the number of rows."""
BUILT_PER_ROW = {"list_major": 0.0, "scann": 1.6e-4}
"""CPU seconds that a row adds to the build; leaves are there for every engine."""
ROWS_MEASURED = 100_000


@dataclass(frozen=True)
class EngineSpec:
    """What a worker needs to open an engine."""

    name: str
    """exact, list_major or scann."""
    width: int = 0
    """How wide it searches: leaves of ScaNN, steps of `list_major.REACH`; nothing to exact."""


def open_engine(spec: EngineSpec, snapshot: Snapshot, threads: int = 1) -> Engine:
    """Return the engine over a snapshot; ScaNN's files are loaded once per process.

    Args:
        spec: which engine.
        snapshot: the catalogue.
        threads: that ScaNN searches with; the others have those of BLAS.
    """
    if spec.name == "scann":
        return _loaded_scann(str(snapshot.index), threads).opened(snapshot.vectors, spec.width)
    return open_parted(spec, snapshot)


def open_parted(spec: EngineSpec, snapshot: Snapshot) -> PartedEngine:
    """Return an engine that can search a part of a snapshot; ScaNN cannot, exact stands in."""
    if spec.name == "list_major":
        return ListMajorEngine(snapshot.vectors, snapshot.leaves, spec.width)
    return ExactEngine(snapshot.vectors)


def widest(name: str, n: int) -> int:
    """Return the width with which an engine searches all leaves of n rows."""
    return scann.leaves_of(n) if name == "scann" else WIDEST


@lru_cache(maxsize=1)
def _loaded_scann(folder: str, threads: int) -> scann.ScannFiles:
    return scann.ScannFiles(folder, threads)


def chosen_engine(name: str, items: int, users: int, dimensions: int) -> str:
    """Return exact, list_major or scann for a configured name; 'auto' takes a cheaper one.

    That is exact or list_major. The estimates, in CPU seconds of one core, are logged.

    Raises:
        MissingExtraError: 'scann' is asked for and not installed.
    """
    if name == "scann":
        scann.scann_ops()
    if name != "auto":
        return name
    costs = estimated_costs(items, users, seconds_a_product() * dimensions)
    # ScaNN's files are there only where it is asked for; and it was never the cheapest.
    cheapest = min((e for e in costs if e != "scann"), key=lambda engine: costs[engine])
    told = ", ".join(f"{engine} {cost:.1f}" for engine, cost in costs.items())
    logger.info(
        "engine %s for %d items and %d users; estimated CPU seconds: %s",
        cheapest, items, users, told,
    )  # fmt: skip
    return cheapest


def estimated_costs(items: int, users: int, seconds_a_pair: float) -> dict[str, float]:
    """Return CPU seconds by engine, building and searching.

    Args:
        items: rows of the matrix.
        users: queries.
        seconds_a_pair: of one inner product inside a matrix product.

    >>> min(estimated_costs(5_000, 1000, 1e-8).items(), key=lambda cost: cost[1])[0]
    'exact'
    """
    exact = items * users * seconds_a_pair
    if items < ONE_LEAF_BELOW:
        return {"exact": exact}
    shrink = math.sqrt(ROWS_MEASURED / items)
    costs = {"exact": exact}
    for engine, share in SCANNED.items():
        if engine != "scann" or scann.installed():
            costs[engine] = exact * min(1.0, share * shrink) + BUILT_PER_ROW[engine] * items
    return costs


@lru_cache(maxsize=1)
def seconds_a_product() -> float:
    """Measure one multiply-add of a matrix product on this machine, CPU seconds."""
    left, right = np.ones((512, 256), np.float32), np.ones((256, 4096), np.float32)
    left @ right
    started = time.process_time()
    left @ right
    return max(time.process_time() - started, 1e-3) / (512 * 256 * 4096)


def tuned(
    open_width: Callable[[int], Engine], sample: Sample, most: int, target: float
) -> tuple[int, Recall]:
    """Return the smallest width whose recall on sampled users reaches the target, and that recall.

    Found by bisection: recall grows with the width, which is `most` at most. The lower end of the
    interval counts: a few users find much less than the others, and a sample may lack them.
    """
    low, high = 0, 1
    reached = sample.recall(open_width(high))
    while reached.low < target and high < most:
        low, high = high, min(2 * high, most)
        reached = sample.recall(open_width(high))
    while high - low > 1:
        middle = (low + high) // 2
        found = sample.recall(open_width(middle))
        if found.low >= target:
            high, reached = middle, found
        else:
            low = middle
    return high, reached


@dataclass(frozen=True)
class Sample:
    """Queries of sampled users with their masks, and what exact search finds for them."""

    queries: Vectors
    masks: Masks
    vectors: Vectors
    exact: Rows

    @staticmethod
    def of(queries: Vectors, masks: Masks, vectors: Vectors, k: int) -> Sample:
        """Search exactly for (queries, d) unit rows among (n, d)."""
        return Sample(queries, masks, vectors, ExactEngine(vectors).nearest(queries, k, masks))

    def recall(self, engine: Engine) -> Recall:
        """Return how much of it an engine finds."""
        found = engine.nearest(self.queries, self.exact.shape[1], self.masks)
        return recall_of(self.vectors, self.queries, found, self.exact)

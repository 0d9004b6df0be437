"""How busy the pull-ahead window keeps an engine: `make bench-window`.

A simulated engine with 64 places answers in log-normal times. Measured is the share of its places
that are taken from the first request to the last answer, the run-down at the end included: over
Arrow batches of several sizes, over many short tasks of which four run at a time, and, for
comparison, for one call per batch that waits for the whole batch.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from vlm4rec_spark.descriptions.window import LoopThread, WindowLimits, windowed

PLACES = 64
ROWS = 6000
MEDIAN_S = 0.22
SIGMA = 0.5
TASKS, TASKS_AT_A_TIME = 16, 4

logger = logging.getLogger("bench")


class Engine:
    """Places that requests wait for, on an event loop of its own as a server has."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._places = asyncio.Semaphore(PLACES)
        self._busy_s = 0.0
        self._first = self._last = 0.0

    async def complete(self, seed: int) -> None:
        """Answer one request of a task, from the task's own loop."""
        await asyncio.wrap_future(self._loop.submit(self._answer(seed)))

    async def _answer(self, seed: int) -> None:
        latency_s = random.Random(seed).lognormvariate(0.0, SIGMA) * MEDIAN_S
        async with self._places:
            started = time.perf_counter()
            self._first = self._first or started
            await asyncio.sleep(latency_s)
            self._last = time.perf_counter()
            self._busy_s += self._last - started

    @property
    def use(self) -> float:
        """Share of the places that were taken."""
        return self._busy_s / (PLACES * (self._last - self._first))

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return self._last - self._first


def batches(n_rows: int, size: int, first: int = 0) -> Iterator[range]:
    """Yield the rows of a task in Arrow batches."""
    for start in range(first, first + n_rows, size):
        yield range(start, min(start + size, first + n_rows))


def run_task(engine: Engine, n_rows: int, size: int, first: int = 0) -> None:
    """Work as one Spark task does."""
    rows = (row for batch in batches(n_rows, size, first) for row in batch)
    with LoopThread() as loop:
        for _ in windowed(rows, engine.complete, WindowLimits(PLACES), loop):
            pass


def run_synchronous(engine: Engine, n_rows: int, size: int) -> None:
    """Work as the usual recipe does: one call per batch."""

    async def call(batch: range) -> None:
        await asyncio.gather(*(engine.complete(row) for row in batch))

    with LoopThread() as loop:
        for batch in batches(n_rows, size):
            loop.submit(call(batch)).result()


def one_task(size: int) -> Engine:
    """Return the engine after one task over batches of a size."""
    with LoopThread() as loop:
        engine = Engine(loop)
        run_task(engine, ROWS, size)
        return engine


def many_tasks(size: int) -> Engine:
    """Return the engine after tasks that end and begin at different times."""
    with LoopThread() as loop:
        engine = Engine(loop)
        each = ROWS // TASKS
        with ThreadPoolExecutor(TASKS_AT_A_TIME) as workers:
            list(workers.map(lambda t: run_task(engine, each, size, t * each), range(TASKS)))
        return engine


def synchronous(size: int) -> Engine:
    """Return the engine after the usual recipe, on fewer rows as it is slow."""
    with LoopThread() as loop:
        engine = Engine(loop)
        run_synchronous(engine, ROWS // 4, size)
        return engine


def main() -> None:
    """Measure, and print one line of JSON."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found: dict[str, float] = {}
    for size in (64, 256, 1024):
        engine = one_task(size)
        found[f"slot_use_{size}"] = round(engine.use, 4)
        logger.info("batches of %d: %.1f s, %.1f %% busy", size, engine.seconds, 100 * engine.use)
    engine = many_tasks(256)
    found["slot_use_4_tasks"] = round(engine.use, 4)
    logger.info("%d tasks, 4 at a time: %.1f %% busy", TASKS, 100 * engine.use)
    for size in (64, 256):
        engine = synchronous(size)
        found[f"slot_use_{size}_synchronous"] = round(engine.use, 4)
        logger.info("one call per batch of %d: %.1f %% busy", size, 100 * engine.use)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

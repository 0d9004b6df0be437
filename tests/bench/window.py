"""How busy the pull-ahead window keeps an engine: `make bench-window`.

Real Arrow batches of requests, each with the bytes of its picture, go through what Spark calls in a
task (`describing`: pull, check, prepare, ask, parse, rows out). Simulated are the engine alone, 64
places in which the fake engine's answers take log-normal times by seed, and Spark around the tasks:
they are threads here, the batches wait in memory, and a task begins as soon as one before it ends.
Threads share one lock where Spark has processes, which makes it harder, not easier.

A place counts as taken for the time drawn for its answer and for nothing else, so that no delay of
ours passes for work. Measured is the share of all places' time that is taken, from the first
request to the last answer, start and run-down included: in one task over batches of several sizes;
in sixteen tasks of which four at a time share the engine; and, for comparison, where each batch is
sent at once and waited for, with the same work on each row.

A row takes about a millisecond of CPU, the engine's part included: a quarter of one core at this
rate, so that the CPU is not the limit. The median answer takes 0.22 s, less than a real server with
64 places needs: what passes between an answer and the next request counts for more than there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from vlm4rec_spark import testing
from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions.describer import Describer, WorkerSpec
from vlm4rec_spark.descriptions.fake import FakeSpec
from vlm4rec_spark.descriptions.specs import worker_spec
from vlm4rec_spark.descriptions.window import LoopThread
from vlm4rec_spark.descriptions.worker import describing

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.engine import EngineFailure, Reply

PLACES = 64
ROWS = 6000
MEDIAN_S = 0.22
SIGMA = 0.5
TASKS, TASKS_AT_A_TIME = 16, 4
SIDE = 64
SETTINGS = (
    "describe.engine.kind=fake",
    "describe.attributes=fashion",
    f"describe.engine.max_num_seqs={PLACES}",
)

logger = logging.getLogger("bench")


class Places:
    """What answers, on an event loop of its own as a server has: it is shared by all tasks."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._fake = FakeSpec().open()
        self._free = asyncio.Semaphore(PLACES)
        self._taken_s = 0.0
        self._first = self._last = 0.0

    async def complete(self, body: dict[str, Any], key: str) -> Reply | EngineFailure:
        """Answer one request of a task, from the task's own loop."""
        await asyncio.wrap_future(self._loop.submit(self._hold(key)))
        return await self._fake.complete(body, key)

    async def _hold(self, key: str) -> None:
        """Wait for a place, and keep it for the time that is drawn for this request."""
        seconds = random.Random(key).lognormvariate(0.0, SIGMA) * MEDIAN_S
        async with self._free:
            self._first = self._first or time.perf_counter()
            await asyncio.sleep(seconds)
            self._taken_s += seconds
            self._last = time.perf_counter()

    def sample(self) -> None:
        """There is nothing to look at."""

    async def aclose(self) -> None:
        """Other tasks may still need it."""

    @property
    def use(self) -> float:
        """Share of the places that were taken."""
        return self._taken_s / (PLACES * self.seconds)

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return self._last - self._first


@dataclass(frozen=True)
class Shared:
    """Gives every task the same engine, as tasks of one machine get the same server."""

    places: Places

    def open(self) -> Places:
        """Return the engine."""
        return self.places


def batches(n_rows: int, size: int, first: int = 0) -> list[pa.RecordBatch]:
    """Return requests as Spark hands them to a task, in batches of a size."""
    (product,) = testing.products(1)
    content = testing.picture(product, 0, side=SIDE)
    sha256 = hashlib.sha256(content).hexdigest()
    picture = {"uri": None, "sha256": sha256, "content": content}
    row = {"category": "Dresses", "title": None, "attempt": 1, "pictures": [picture]}
    rows = ({"request_key": f"k{n}", **row} for n in range(first, first + n_rows))
    found: list[pa.RecordBatch] = pa.Table.from_pylist(list(rows)).to_batches(size)
    return found


def run_task(spec: WorkerSpec, pending: list[pa.RecordBatch]) -> None:
    """Work as one Spark task does."""
    check(row for batch in describing(spec)(iter(pending)) for row in batch.to_pylist())


def run_synchronous(spec: WorkerSpec, pending: list[pa.RecordBatch]) -> None:
    """Work as the usual recipe does: one call per batch."""
    describer = Describer(spec, spec.engine.open())

    async def call(batch: pa.RecordBatch) -> list[dict[str, Any]]:
        return await asyncio.gather(*map(describer.describe, batch.to_pylist()))

    with LoopThread() as loop:
        for batch in pending:
            check(loop.submit(call(batch)).result())


def check(rows: Iterable[dict[str, Any]]) -> None:
    """See to it that every request was answered: an error would cost the engine no time."""
    for row in rows:
        if row["status"] != "ok":
            raise AssertionError(f"{row['error_code']}: {row['error_message']}")


def measured(name: str, work: Callable[[WorkerSpec], None]) -> float:
    """Return the share of an engine's places that are taken while tasks do some work."""
    spec = worker_spec(load_config(None, list(SETTINGS)), "bench")
    with LoopThread() as loop:
        places = Places(loop)
        work(replace(spec, engine=Shared(places)))
    logger.info("%s: %.1f s, %.1f %% busy", name, places.seconds, 100 * places.use)
    return round(places.use, 4)


def one_task(size: int) -> float:
    """Return the use in one task over batches of a size."""
    pending = batches(ROWS, size)
    return measured(f"batches of {size}", lambda spec: run_task(spec, pending))


def many_tasks(size: int) -> float:
    """Return the use in tasks that end and begin at different times."""
    each = ROWS // TASKS
    parts = [batches(each, size, task * each) for task in range(TASKS)]

    def work(spec: WorkerSpec) -> None:
        with ThreadPoolExecutor(TASKS_AT_A_TIME) as tasks:
            list(tasks.map(lambda pending: run_task(spec, pending), parts))

    return measured(f"{TASKS} tasks, {TASKS_AT_A_TIME} at a time", work)


def synchronous(size: int) -> float:
    """Return the use by the usual recipe, on fewer rows as it is slow."""
    pending = batches(ROWS // 4, size)
    return measured(f"one call per batch of {size}", lambda spec: run_synchronous(spec, pending))


def main() -> None:
    """Measure, and print one line of JSON."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = {f"slot_use_{size}": one_task(size) for size in (64, 256, 1024)}
    found["slot_use_4_tasks"] = many_tasks(256)
    for size in (64, 256):
        found[f"slot_use_{size}_synchronous"] = synchronous(size)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

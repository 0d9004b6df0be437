"""What a Spark task does: requests in, one row for each request out, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import takewhile
from typing import Any

import pyarrow as pa

from vlm4rec_spark.descriptions.describer import Describer, WorkerSpec
from vlm4rec_spark.descriptions.progress import TaskProgress
from vlm4rec_spark.descriptions.requests import RequestRules, request_key
from vlm4rec_spark.descriptions.window import LoopThread, WindowLimits, windowed
from vlm4rec_spark.tables import DESCRIPTIONS_LOG

Batches = Iterator[pa.RecordBatch]
INPUT_ROWS = OUTPUT_ROWS = 64
PREPARING_THREADS = 8
PREPARED_BYTES_PER_PIXEL = 1.25
"""Room for a prepared picture, as JPEG and in base64: 250 kB for one of 448 x 448."""

KEYS = pa.schema([("item_id", pa.string()), ("request_key", pa.string())])
"""What `keyed` gives: the request key in force of each item, null without a usable picture."""


def keyed(rules: RequestRules) -> Callable[[Batches], Batches]:
    """Return a function for `mapInArrow`: item_id, category, title, hashes -> KEYS."""

    def run(batches: Batches) -> Batches:
        for batch in batches:
            columns = (batch[n].to_pylist() for n in ("hashes", "category", "title"))
            keys = [
                request_key(rules, hashes, category, title) if hashes else None
                for hashes, category, title in zip(*columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(
                [batch["item_id"].cast(pa.string()), pa.array(keys, pa.string())], schema=KEYS
            )

    return run


def describing(spec: WorkerSpec) -> Callable[[Batches], Batches]:
    """Return a function for `mapInArrow`: pending requests -> rows of `descriptions_log`."""

    def run(batches: Batches) -> Batches:
        schema = DESCRIPTIONS_LOG.arrow_schema()
        waiting: list[dict[str, Any]] = []
        for row in describe_rows(spec, _rows(batches)):
            waiting.append(row)
            if len(waiting) == OUTPUT_ROWS:
                yield pa.RecordBatch.from_pylist(waiting, schema=schema)
                waiting = []
        if waiting:
            yield pa.RecordBatch.from_pylist(waiting, schema=schema)

    return run


def _rows(batches: Batches) -> Iterator[dict[str, Any]]:
    """Yield the rows of the batches; only some at a time, for they may hold pictures."""
    for batch in batches:
        for start in range(0, batch.num_rows, INPUT_ROWS):
            yield from batch.slice(start, INPUT_ROWS).to_pylist()


def describe_rows(spec: WorkerSpec, pending: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Describe pending requests; the engine is opened only when there is a first one.

    When far more of them fail than the run allows, or the driver, which sees all tasks, says so, no
    further one is sent: the rest stays pending.

    Raises:
        EngineError: the engine cannot be started or reached at all.
    """
    source = iter(pending)
    first = next(source, None)
    if first is None:
        return
    breaker = Breaker(spec.max_failure_rate, spec.min_rows_for_failure_rate)
    progress = TaskProgress(spec.progress, spec.partition)
    with LoopThread(PREPARING_THREADS) as loop:
        engine = spec.engine.open()
        describer = Describer(spec, engine)
        everything = (row for part in ([first], source) for row in part)
        wanted = takewhile(lambda _: not (breaker.is_open or progress.is_stopped), everything)
        limits = WindowLimits(spec.window, spec.window_bytes)
        weight = partial(_weight, max_side=spec.rules.max_side)
        try:
            work = windowed(wanted, describer.describe, limits, loop, weight, is_answered)
            for row in work:
                breaker.count(is_error=row["status"] == "error")
                progress.count(row)
                yield row
        finally:
            loop.submit(engine.aclose()).result(timeout=10)


def _weight(row: dict[str, Any], max_side: int) -> int:
    """Return about how many bytes a request holds while it is under way.

    A file that is yet to be read is not counted: only the thread that prepares it holds it.
    """
    contents = (len(p.get("content") or b"") for p in row["pictures"])
    return sum(contents) + len(row["pictures"]) * int(PREPARED_BYTES_PER_PIXEL * max_side**2)


def is_answered(row: dict[str, Any]) -> bool:
    """Tell whether the engine replied, whatever the reply was worth."""
    return "latency_ms" in row


class Breaker:
    """Opens when more than half of what could fail within the limit and all has failed.

    One task sees a part of the run only, so its patience is greater than the run's.
    """

    def __init__(self, max_failure_rate: float, min_rows: int) -> None:
        """Keep the run's own limit."""
        self._most = (1 + max_failure_rate) / 2
        self._min_rows = min_rows
        self._rows = self._errors = 0

    def count(self, *, is_error: bool) -> None:
        """Count one finished request."""
        self._rows += 1
        self._errors += is_error

    @property
    def is_open(self) -> bool:
        """Tell whether sending on is a waste."""
        return self._rows >= self._min_rows and self._errors > self._most * self._rows

"""Sends the queue slice by slice: infer, append, now and then merge what was appended.

A crash costs the slices under way; what was appended and not merged, the next run merges first.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.descriptions import plan
from vlm4rec_spark.descriptions.progress import ProgressSpec, clear, so_far, stop
from vlm4rec_spark.descriptions.report import (
    FAILED,
    MOST_CAUSES,
    UNDER_WAY,
    Tally,
    check_failures,
    progress_line,
    progress_report,
    too_many_failed,
)
from vlm4rec_spark.logs import tagged
from vlm4rec_spark.runs import record
from vlm4rec_spark.spark_errors import translated
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG, ENGINE_METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame

    from vlm4rec_spark.descriptions.describer import WorkerSpec
    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)

AT_A_TIME = 2
"""Slices under way: the next one keeps the engine busy while the last requests of one end and
while it is committed."""

PRICED_ROWS = 200
"""Requests of the first slice, at most, where the cost is limited: they tell the price."""
LONGEST_CAUSE = 2000
STAGE = "descriptions"

SUMS = {
    "described": "count_if(status = 'ok')",
    "failed": "count_if(status = 'error')",
    "not_sent": "count_if(stage IN ('fetch', 'decode'))",
    "tokens_in": "sum(tokens_in)",
    "tokens_cached": "sum(tokens_cached)",
    "tokens_out": "sum(tokens_out)",
    "pictures": "sum(size(picture_hashes))",
    "latency_ms": "percentile_approx(latency_ms, 0.5)",
    "waited_s": "sum(latency_ms) / 1000",
    "fetch_s": "sum(fetch_ms) / 1000",
    "prepare_s": "sum(prepare_ms) / 1000",
    # From the first request to the last answer; no server starts in it.
    "serving_s": "max(unix_micros(described_at) / 1e6)"
    " - min(unix_micros(described_at) / 1e6 - latency_ms / 1000)",
    "servers": "count(DISTINCT server)",
    "slices": "count(DISTINCT landing)",
}


@dataclass(frozen=True)
class Work:
    """What a run has to send: rows of `plan.QUEUE`, how many, in slices numbered from 0.

    `source` are the pictures of the source where the queue cannot lead to the bytes.
    """

    queue: DataFrame
    source: DataFrame | None
    n_requests: int
    n_slices: int


class Slices:
    """One run's way through the queue."""

    def __init__(self, context: RunContext, spec: WorkerSpec, work: Work) -> None:
        """Keep what all slices share."""
        self._context, self._spec, self._work = context, spec, work
        # Not the run id: a run that is repeated under its id may have new work in a slice. What
        # differs comes first: Delta's statistics, which spare reading all of the log to find a
        # slice, keep 32 letters.
        self.landing = uuid.uuid4().hex[:12]
        self._merging = threading.Lock()
        self._unmerged: list[str] = []
        self._n_merged = 0
        # Absolute, as a server of Spark may run in another folder.
        root = Path(context.config.topk.index_path).absolute()
        self._progress = str(root / "progress" / self.landing)
        self._started = self._told_at = time.monotonic()
        self._running: dict[Future[Tally], int] = {}
        self._tally = Tally()
        self._done: list[Tally] = []
        self._is_stopped = False
        self._judged = 0

    def send_all(self) -> Tally:
        """Send slice after slice until the end, the cost limit, or too many failures.

        Raises:
            FailureRateError: too much failed; what succeeded is committed.
            BusyError: another run has taken this one's place.

        Returns:
            What all slices did.
        """
        context = self._context
        if context.config.describe.engine.kind == "local":
            # Slices that overlap would make it at the same moment, and one of them would fail.
            delta.create_table(context.spark, ENGINE_METRICS, context.names)
        try:
            self._send_each()
            check_failures(self._tally, context.config.describe, self._judged, at_end=True)
        except Exception as error:
            cause = str(translated(error) or error)
            self._note(self._tally, FAILED + shorten(cause, LONGEST_CAUSE))
            raise
        finally:
            # However it ends: what was answered is in force.
            clear(self._progress)
            with self._merging:
                self._merge()
        if len(self._done) == 1:
            return self._done[0]
        # Neither medians nor the times of slices that overlap can be had from their tallies.
        log = delta.read(context.spark, DESCRIPTIONS_LOG, context.names)
        return tally_of(log, self.landing)

    def _send_each(self) -> None:
        waiting = iter(range(self._work.n_slices))
        # A rate is divided among the tasks of one slice, a price known only after the first.
        cost = self._context.config.describe.cost
        engine = self._context.config.describe.engine
        has_limit = cost.max_cost or engine.requests_per_minute or engine.tokens_per_minute
        at_a_time = 1 if has_limit else AT_A_TIME
        with ThreadPoolExecutor(at_a_time, "vlm4rec-slice") as threads:
            try:
                while True:
                    self._start(threads, waiting, at_a_time)
                    if not self._running:
                        return
                    self._await_one()
                    self._tell()
                    check_failures(self._tally, self._context.config.describe)
            except BaseException:
                # Leaving waits for the other slice: it must not send on for an hour.
                self._stop()
                raise

    def _start(self, threads: ThreadPoolExecutor, waiting: Iterator[int], at_a_time: int) -> None:
        """Start slices while there is room, work and money for them."""
        while len(self._running) < at_a_time and not self._is_stopped:
            number = next(waiting, None)
            if number is None:
                return
            if not self._can_pay():
                self._is_stopped = True
                return
            self._context.check_lease()
            self._running[threads.submit(self._send, number)] = number

    def _await_one(self) -> None:
        """Wait until a slice has ended or it is time to tell how far all are."""
        every_s = self._context.config.run.progress_s
        done, _ = wait(self._running, every_s, FIRST_COMPLETED)
        for future in done:
            self._done.append(future.result())
            self._tally += self._done[-1]
            del self._running[future]

    def _stop(self) -> None:
        """Start no slice, and let those under way send nothing more."""
        self._is_stopped = True
        for number in self._running.values():
            stop(self._folder_of(number))

    def _send(self, number: int) -> Tally:
        """Infer and append one slice; return what it did."""
        # Spark keeps tags by thread, so that without this one a stage could not be interrupted.
        with tagged(self._context.spark, self._context.run_id, STAGE):
            return self._sent(number)

    def _sent(self, number: int) -> Tally:
        context, settings = self._context, self._context.config.describe
        landing = f"{self.landing}-{number:06d}-{context.run_id}"
        ours = self._work.queue.where(f"slice = {number}")
        max_images = context.config.images.max_images
        requests = plan.with_contents(ours, self._work.source, max_images)
        progress = ProgressSpec(self._folder_of(number), context.config.run.progress_s)
        spec = replace(self._spec, landing=landing, progress=progress)
        rows = plan.described(requests, spec, settings.tasks)
        # One name for each slice: within a name, a later number would make Delta skip an earlier.
        delta.append_once(rows, DESCRIPTIONS_LOG, context.names, landing, 0)
        log = delta.read(context.spark, DESCRIPTIONS_LOG, context.names)
        if settings.engine.kind == "local":
            samples = plan.engine_metrics(log.where(log["landing"] == landing))
            delta.append_once(samples, ENGINE_METRICS, context.names, landing, 0)
        tally = tally_of(log, landing)
        if tally.rows:
            self._landed(landing)
        return tally

    def _landed(self, landing: str) -> None:
        """Note an appended slice, and put in force what was appended where it is time."""
        with self._merging:
            self._unmerged.append(landing)
            # A merge reads all of `descriptions`. One at each doubling: the first answers are in
            # force soon, and a run of many slices reads the table a few times only.
            if len(self._unmerged) > self._n_merged:
                self._merge()

    def _merge(self) -> None:
        """Put the slices that were appended since the last time in force."""
        if not self._unmerged:
            return
        context = self._context
        context.check_lease()
        log = delta.read(context.spark, DESCRIPTIONS_LOG, context.names)
        landed = log.where(log["landing"].isin(self._unmerged))
        delta.upsert(plan.newest(landed), DESCRIPTIONS, context.names)
        self._n_merged += len(self._unmerged)
        self._unmerged = []

    def _folder_of(self, number: int) -> str:
        """Return where the tasks of a slice say how far they are."""
        return f"{self._progress}/{number}"

    def _can_pay(self) -> bool:
        """Tell whether the next slice, at the price of those before, stays under the limit."""
        settings = self._context.config.describe
        prices, most = settings.cost, settings.cost.max_cost
        if most is None or not self._done:
            return True
        spent = self._tally.cost(prices)
        rows = min(settings.slice_rows, self._work.n_requests - self._tally.rows)
        # By the slices' own times: those of a run hold the start of a server, which is paid once.
        price = sum(self._done, Tally()).cost_of(rows, prices)
        if spent + price <= most:
            return True
        logger.warning(
            "Stopped after %d of %d slices: %.2f of describe.cost.max_cost = %.2f are spent, and "
            "the next slice would cost %.2f. The rest stays pending for the next run.",
            *(len(self._done), self._work.n_slices, spent, most, price),
        )
        return False

    def _tell(self) -> None:
        """Write how far the run is, to the log and now and then into `runs`."""
        settings, now = self._context.config, time.monotonic()
        # Slices overlap: their times do not add up.
        self._tally = replace(self._tally, serving_s=now - self._started)
        # What a slice has told stays there until it is in the tally.
        tally = self._tally + so_far(map(self._folder_of, self._running.values()))
        # Too many even if all else that is under way ends well: what is sent now is sent in vain.
        most = self._tally.rows + len(self._running) * settings.describe.slice_rows
        most = min(most, self._work.n_requests)
        if not self._judged and too_many_failed(tally, settings.describe, most):
            self._judged = most
            self._stop()
        prices, share = settings.describe.cost, tally.rows / self._work.n_requests
        logger.info("%s", progress_line(tally, prices, share, now - self._started))
        if share < 1 and now - self._told_at > settings.run.progress_s:
            self._told_at = now
            self._note(tally, UNDER_WAY)

    def _note(self, tally: Tally, what: str) -> None:
        """Write the row of a run that is under way, or has failed, into `runs`."""
        prices, seconds = self._context.config.describe.cost, time.monotonic() - self._started
        share = tally.rows / self._work.n_requests
        try:
            record(self._context, progress_report(tally, prices, share, seconds, what))
        except Exception as error:  # noqa: BLE001 - news is no reason to end a run of hours
            logger.warning("No row was written into `runs`: %s", shorten(str(error), LONGEST_CAUSE))


def tally_of(log: DataFrame, landing: str) -> Tally:
    """Count what was landed under a name, or under all names that begin with it."""
    mine = log.where(log["landing"].startswith(landing))
    row = mine.selectExpr(*(f"coalesce({sql}, 0) AS {name}" for name, sql in SUMS.items())).first()
    counted = row.asDict() if row else {}
    if not counted.get("failed"):
        return Tally(**counted)
    causes = (
        mine.where("status = 'error'")
        .groupBy("stage", "error_code")
        .agg(F.count("*").alias("rows"), F.min("error_message").alias("example"))
        .orderBy(F.desc("rows"), "stage", "error_code")
        .limit(MOST_CAUSES)
        .collect()
    )
    return Tally(**counted, causes=tuple(tuple(cause) for cause in causes))

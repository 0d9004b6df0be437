"""One run of a job at a time: a row of `leases` that its holder keeps renewing.

Two runs at once would pay for the same answers twice, and trip over each other's commits.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm4rec_spark import delta
from vlm4rec_spark.errors import BusyError
from vlm4rec_spark.spark_errors import despite_others
from vlm4rec_spark.table_spec import quoted
from vlm4rec_spark.tables import LEASES

if TYPE_CHECKING:
    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)

RENEW_S = 30.0
STALE_S = 180.0
"""A holder that shows no sign of life for so long is taken for dead."""

POLL_S = 5.0


class Lease:
    """The right to run one job on one set of tables."""

    def __init__(self, context: RunContext, job: str) -> None:
        """Name the job; nothing is taken yet."""
        self._context, self._job = context, job
        self._spark, self._names, self._run_id = context.spark, context.names, context.run_id
        self._process = f"{platform.node()} {os.getpid()} {_start_of(os.getpid())}"
        self._renewed_at = 0.0
        self._done = threading.Event()
        # A renewal under way must not meet the giving back: the two would conflict in Delta's log.
        self._writing = threading.Lock()

    @contextlib.contextmanager
    def held(self) -> Iterator[RunContext]:
        """Take the lease, renew it in the background, and give it back.

        Raises:
            BusyError: another run of the job is at work.

        Returns:
            The run's context, which now can ask whether the lease is still held.
        """
        self._take()
        threading.Thread(target=self._renew_always, name="vlm4rec-lease", daemon=True).start()
        try:
            yield replace(self._context, check_lease=self._check_held)
        finally:
            self._done.set()
            with self._writing:
                self._update_mine("holder = NULL")

    def _take(self) -> None:
        seen: datetime | None = None
        while (row := self._row()) and row["holder"] and not self._is_dead(row):
            if seen is not None and row["renewed_at"] != seen:
                raise BusyError(self._told(row))
            seen = row["renewed_at"]
            logger.info("%s Waiting for a sign of life.", self._told(row))
            time.sleep(POLL_S)
        self._renewed_at = time.time()
        try:
            is_mine = self._claim(row)
        except Exception:
            self._check()  # two that take it at once conflict in Delta's log: one of them has it
            raise
        if not is_mine:
            self._check()
            self._take()  # its holder has just given it back

    def _claim(self, row: dict[str, Any] | None) -> bool:
        """Write our name into the job's row, as it was seen, unless somebody else did meanwhile."""
        job, holder, process = map(quoted, (self._job, self._run_id, self._process))
        if row is None:
            claim = (
                f"MERGE INTO {self._table} t USING (SELECT {job} AS job) s "  # noqa: S608 - all quoted
                "ON t.job = s.job WHEN NOT MATCHED THEN INSERT (job, holder, process, renewed_at) "
                f"VALUES (s.job, {holder}, {process}, current_timestamp())"
            )
        else:
            claim = (
                f"UPDATE {self._table} SET holder = {holder}, process = {process}, "  # noqa: S608 - all quoted
                f"renewed_at = current_timestamp() WHERE job = {job} "
                f"AND (process = {quoted(row['process'])} OR holder IS NULL)"
            )
        return self._write(claim) > 0

    def _row(self) -> dict[str, Any] | None:
        """Return the job's row: its holder is null where nobody is at work."""
        # By one clock, and without a time zone that Classic and Connect read in two ways.
        age_s = "(unix_micros(current_timestamp()) - unix_micros(renewed_at)) / 1e6 AS age_s"
        rows = delta.read(self._spark, LEASES, self._names).selectExpr("*", age_s).collect()
        mine = [row.asDict() for row in rows if row["job"] == self._job]
        return mine[0] if mine else None

    def _holder(self) -> dict[str, Any] | None:
        row = self._row()
        return row if row and row["holder"] else None

    def _is_dead(self, holder: dict[str, Any]) -> bool:
        host, pid, start = holder["process"].split(" ")
        if host == platform.node() and _start_of(int(pid)) != start:
            return True
        return bool(holder["age_s"] > STALE_S)

    def _told(self, holder: dict[str, Any]) -> str:
        return (
            f"Run {holder['holder']} of {self._job} (host, process: {holder['process']}) is at "
            f"work on {self._names.qualified_schema}; its last sign of life was at "
            f"{holder['renewed_at']}. Run this job again when that one has ended."
        )

    def _check(self) -> None:
        holder = self._holder()
        if holder and holder["process"] != self._process:
            raise BusyError(self._told(holder))

    def _check_held(self) -> None:
        """Raise BusyError where this run stood still for so long that another has taken over."""
        if time.time() - self._renewed_at < STALE_S:
            return  # nobody takes this one for dead yet
        holder = self._holder()
        if holder and (holder["holder"], holder["process"]) == (self._run_id, self._process):
            return
        raise BusyError(
            f"Run {self._run_id} of {self._job} stops: it showed no sign of life for more than "
            f"{STALE_S:.0f} s, and another run took its place. What it committed is whole. "
            + (self._told(holder) if holder else "Run this job again; it goes on from there.")
        )

    def _renew_always(self) -> None:
        while not self._done.wait(RENEW_S):
            try:
                with self._writing:
                    if not self._done.is_set():
                        self._renew()
            except Exception as error:  # noqa: BLE001 - a missed renewal is no reason to end a run
                logger.warning("The lease could not be renewed: %s", str(error).splitlines()[:1])

    def _renew(self) -> None:
        now = time.time()
        if self._update_mine("renewed_at = current_timestamp()"):
            self._renewed_at = now

    @property
    def _table(self) -> str:
        return self._names.qualified(LEASES)

    def _update_mine(self, what: str) -> int:
        job, process = quoted(self._job), quoted(self._process)
        return self._write(
            f"UPDATE {self._table} SET {what} WHERE job = {job} AND process = {process}"  # noqa: S608
        )

    def _write(self, statement: str) -> int:
        """Change the row, and return how many were; values are literals, as Delta wants them."""
        (row,) = despite_others(lambda: self._spark.sql(statement).collect())
        return int(row["num_affected_rows"])


def _start_of(pid: int) -> str | None:
    """Return when a process started, in clock ticks; with its number it names it for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]

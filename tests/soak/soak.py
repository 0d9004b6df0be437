"""Kill -9 at random over many runs of the describe stage: nothing lost, nothing twice, none left.

    make soak
    make soak KILLS=30 SEED=2 ENGINE=vllm

Before each kill the shop gets new pictures and the job is started; a process of a kind drawn by
seed (driver, JVM, Python worker, model server, its engine, the reaper) is killed at a moment drawn
by seed. The job then ends by itself, well or not, and is started again until it ends well. Looked
at are: processes still there 10 s after the driver's end, requests with no or more than one row in
`descriptions`, attempts that are in the log twice. At the end two runs start at the same moment.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from tests.soak.victims import KINDS, Named, everything, living, processes_of
from vlm4rec_spark import testing
from vlm4rec_spark.demo.products import sample_product

PICTURES = 120
"""New ones before each kill: three slices."""

LONGEST_DELAY_S = 4.0
LEFT_AFTER_S = 10.0
RUN_TIMEOUT_S = 900.0
MOST_RELAUNCHES = 5
MOST_ROUNDS = 3
POLL_S = 0.25

logger = logging.getLogger("soak")


@dataclass
class Found:
    """What was seen."""

    killed: Counter[str] = field(default_factory=Counter)
    survived: int = 0
    relaunches: int = 0
    refused: int = 0
    left_over: int = 0
    slowest_end_s: float = 0.0
    problems: list[str] = field(default_factory=list)


class Soak:
    """One shop, its tables, and the runs over it."""

    def __init__(self, folder: Path, engine: str, seed: int) -> None:
        """Keep the place; `engine` is vllm or stand-in."""
        self._folder, self._engine = folder, engine
        self._rng = random.Random(seed)
        self._temp = folder / "t"
        self._temp.mkdir()
        self._rows: list[dict[str, str]] = []
        self.found = Found()

    def add_pictures(self) -> None:
        """Let the shop have PICTURES more items."""
        for number in range(len(self._rows), len(self._rows) + PICTURES):
            product = sample_product(np.random.default_rng([5, number]))
            path = self._folder / f"{number}.jpg"
            path.write_bytes(testing.picture(product, number))
            row = {"item_id": f"i{number}", "title": "", "category": product.kind.category}
            self._rows.append({**row, "image": str(path)})
        pq.write_table(pa.Table.from_pylist(self._rows), self._folder / "items.parquet")

    def round(self, kind: str) -> None:
        """Start the job, kill a process of this kind, start it again until it ends well."""
        self.add_pictures()
        if self._run(kind) == 0:
            self.found.survived += 1
        else:
            for _ in range(MOST_RELAUNCHES):
                self.found.relaunches += 1
                if self._run(None) == 0:
                    break
            else:
                self.found.problems.append(f"no run ended well after a {kind} was killed")
        self._check_tables(kind)

    def two_at_once(self) -> None:
        """Start the job twice at the same moment: one works, the other says who is at work."""
        self.add_pictures()
        logs = ("one", "other")
        drivers = [self._start(log) for log in logs]
        statuses = [driver.wait(RUN_TIMEOUT_S) for driver in drivers]
        told = [(self._folder / log).read_text("utf-8", "replace") for log in logs]
        refused = [text for status, text in zip(statuses, told, strict=True) if status]
        self.found.refused = len(refused)
        if len(refused) > 1 or not all("BusyError: Run " in text for text in refused):
            self.found.problems.append(f"two runs at once ended with {statuses}")
        self._check_tables("second run")

    def _run(self, kind: str | None) -> int:
        """Run the job once, with a victim of a kind or none; return its exit status."""
        driver = self._start("log")
        seen: set[Named] = set()
        due = self._rng.uniform(0, LONGEST_DELAY_S)
        first_there = None
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while driver.poll() is None and time.monotonic() < deadline:
            seen |= everything(driver.pid, self._temp)
            if kind and self._is_described_on(driver.pid):
                there = processes_of(driver.pid, self._temp)[kind]
                first_there = first_there or (time.monotonic() if there else None)
                if there and first_there and time.monotonic() - first_there >= due:
                    self._kill(kind, self._rng.choice(there))
                    kind = None
            time.sleep(POLL_S)
        if driver.poll() is None:
            self.found.problems.append(f"a run hung for {RUN_TIMEOUT_S:.0f} s")
            driver.kill()
        status = driver.wait()
        self._check_processes(seen)
        return status

    def _start(self, log: str) -> subprocess.Popen[bytes]:
        """Start the job in a process of its own."""
        with (self._folder / log).open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.soak.job", str(self._folder), self._engine],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "TMPDIR": str(self._temp), "PYTHONPATH": str(Path.cwd())},
            )

    def _is_described_on(self, driver: int) -> bool:
        """Tell whether the stage has come to its servers: before that there is little to lose."""
        return bool(processes_of(driver, self._temp)["server"])

    def _kill(self, kind: str, victim: Named) -> None:
        logger.info("kill -9 %s (%s)", kind, victim[0])
        os.kill(victim[0], signal.SIGKILL)
        self.found.killed[kind] += 1

    def _check_processes(self, seen: set[Named]) -> None:
        """Wait until all processes of the run are gone, and note those that stay too long."""
        ended = time.monotonic()
        while (left := living(seen)) and time.monotonic() - ended < LEFT_AFTER_S:
            time.sleep(POLL_S)
        self.found.slowest_end_s = max(self.found.slowest_end_s, time.monotonic() - ended)
        self.found.left_over += len(left)
        for pid, _ in left:
            self.found.problems.append(f"process {pid} is left")
            os.kill(pid, signal.SIGKILL)

    def _check_tables(self, kind: str) -> None:
        tables = self._folder / "tables" / "soak"
        wanted = {row["request_key"] for row in rows(tables / "items", "request_key")}
        described = Counter(
            row["request_key"]
            for row in rows(tables / "descriptions", "request_key", "status")
            if row["status"] == "ok"
        )
        logged = Counter(
            (row["request_key"], row["attempt"])
            for row in rows(tables / "descriptions_log", "request_key", "attempt")
        )
        counts = {
            "without a picture's request": len(self._rows) - len(wanted),
            "lost": len(wanted - set(described)),
            "twice in descriptions": sum(n > 1 for n in described.values()),
            "attempts twice in the log": sum(n > 1 for n in logged.values()),
        }
        for what, n in counts.items():
            if n:
                self.found.problems.append(f"after the end of a {kind}: {n} {what}")
        logger.info("%d of %d described after a %s", len(described), len(self._rows), kind)


def rows(table: Path, *columns: str) -> list[dict[str, Any]]:
    """Return the rows of a table, read without Spark."""
    found: list[dict[str, Any]] = (
        DeltaTable(str(table)).to_pyarrow_table(columns=list(columns)).to_pylist()
    )
    return found


def main() -> int:
    """Soak, print one line of JSON, and fail where anything was lost, doubled or left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("stand-in", "vllm"), default="stand-in")
    given = parser.parse_args()
    order = random.Random(given.seed)
    started = time.monotonic()
    # Not below another temp folder: the path of a unix socket has 107 bytes.
    with tempfile.TemporaryDirectory(
        prefix="soak-", dir="/tmp", ignore_cleanup_errors=True
    ) as name:
        soak = Soak(Path(name), given.engine, given.seed)
        kinds: list[str] = []
        # A run may end before its victim's time has come.
        for _ in range(MOST_ROUNDS * given.kills):
            if soak.found.killed.total() >= given.kills:
                break
            kinds = kinds or order.sample(KINDS, len(KINDS))
            soak.round(kinds.pop())
        soak.two_at_once()
    found = soak.found
    result = {
        "kills": found.killed.total(),
        **{f"killed_{kind}": found.killed[kind] for kind in KINDS},
        "runs_that_ended_well_all_the_same": found.survived,
        "relaunches": found.relaunches,
        "of_two_at_once_refused": found.refused,
        "left_over": found.left_over,
        "slowest_end_s": round(found.slowest_end_s, 1),
        "problems": found.problems,
        "engine": given.engine,
        "seed": given.seed,
        "seconds": round(time.monotonic() - started),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())

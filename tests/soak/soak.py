"""Kill -9 at random over many runs of the describe stage: nothing lost, nothing twice, none left.

    make soak
    make soak KILLS=10 SEED=2 ENGINE=vllm

A standalone cluster runs throughout. In each round the shop gets new pictures, the job is started,
and processes of it (driver, its JVM, executor, Python worker, model server, its engine, the reaper)
are killed one after the other, in an order and at moments drawn by seed. The job then ends by
itself, well or not, and is started again until it ends well. Looked at are: processes still there
10 s after the driver's end, requests with no or more than one row in `descriptions`, attempts that
are in the log twice. At the end two runs start at the same moment, one run asks an endpoint with
many faults, and one task describes 100,000 pictures, of which its memory must show nothing. Ends
with one line of JSON.
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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.cluster import Cluster, running_cluster
from tests.soak import endpoint, memory
from tests.soak.tables import rows, twice
from tests.soak.victims import KINDS, Job, Named, living
from vlm4rec_spark import testing
from vlm4rec_spark.demo.products import sample_product

PICTURES = 240
"""New ones in each round: six slices."""

ROUNDS = (
    (("worker", "executor", "server"), "driver"),
    (("worker", "executor", "engine"), None),
    (("worker", "executor", "reaper"), "jvm"),
)
"""Who is killed in a round in any order, and who at last. The server goes once only: a request that
was being answered at two of its deaths would rightly be left out as poison."""

LONGEST_DELAY_S = 4.0
LEFT_AFTER_S = 10.0
RUN_TIMEOUT_S = 900.0
MOST_RELAUNCHES = 5
POLL_S = 0.5

LONG_ROWS = 100_000
MOST_GROWTH_MB = 30.0

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

    def figures(self) -> dict[str, float]:
        """Return the counts by name."""
        return {
            "kills": self.killed.total(),
            **{f"killed_{kind}": self.killed[kind] for kind in KINDS},
            "runs_that_ended_well_all_the_same": self.survived,
            "relaunches": self.relaunches,
            "of_two_at_once_refused": self.refused,
            "left_over": self.left_over,
            "slowest_end_s": round(self.slowest_end_s, 1),
        }


class Soak:
    """One shop, its tables, and the runs over it."""

    def __init__(self, folder: Path, cluster: Cluster, engine: str, seed: int) -> None:
        """Keep the place; `engine` is vllm or stand-in."""
        self._folder, self._cluster, self._engine = folder, cluster, engine
        self._rng = random.Random(seed)
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

    def round(self, kinds: Sequence[str], last: str | None) -> None:
        """Start the job, kill a process of each kind, start it again until it ends well."""
        self.add_pictures()
        victims = [*self._rng.sample(kinds, len(kinds)), *([last] if last else [])]
        if self._run(victims) == 0:
            self.found.survived += 1
        else:
            for _ in range(MOST_RELAUNCHES):
                self.found.relaunches += 1
                if self._run([]) == 0:
                    break
            else:
                self.found.problems.append(f"no run ended well after the kills of {victims}")
        self._check_tables(", ".join(victims))

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

    def _run(self, victims: Sequence[str]) -> int:
        """Run the job once, with victims of these kinds in turn; return its exit status."""
        driver = self._start("log")
        job = Job(driver.pid, self._cluster.workers, temp_of(self._folder))
        seen: set[Named] = set()
        waiting = list(victims)
        due: float | None = None
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while driver.poll() is None and time.monotonic() < deadline:
            seen |= job.everything()
            there = job.by_kind() if waiting else {}
            # Before the stage has come to its servers there is little to lose.
            if due is None and there.get("server"):
                due = self._moment()
            if waiting and due and time.monotonic() >= due and there[waiting[0]]:
                kind = waiting.pop(0)
                self._kill(kind, self._rng.choice(there[kind]))
                due = self._moment()
            time.sleep(POLL_S)
        if driver.poll() is None:
            self.found.problems.append(f"a run hung for {RUN_TIMEOUT_S:.0f} s")
            driver.kill()
        status = driver.wait()
        self._check_processes(seen)
        return status

    def _moment(self) -> float:
        """Draw when the next victim's time has come."""
        return time.monotonic() + self._rng.uniform(0, LONGEST_DELAY_S)

    def _start(self, log: str) -> subprocess.Popen[bytes]:
        """Start the job in a process of its own."""
        arguments = (str(self._folder), self._engine, self._cluster.address)
        with (self._folder / log).open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.soak.job", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **environment_in(self._folder)},
            )

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
        described = {
            row["request_key"]
            for row in rows(tables / "descriptions", "request_key", "status")
            if row["status"] == "ok"
        }
        counts = {
            "without a picture's request": len(self._rows) - len(wanted),
            "lost": len(wanted - described),
            "twice in descriptions": twice(tables / "descriptions", "request_key"),
            "attempts twice in the log": twice(
                tables / "descriptions_log", "request_key", "attempt"
            ),
        }
        for what, n in counts.items():
            if n:
                self.found.problems.append(f"after the end of a {kind}: {n} {what}")
        logger.info("%d of %d described after a %s", len(described), len(self._rows), kind)


def temp_of(folder: Path) -> Path:
    """Return the temp folder of all processes of a soak in this folder."""
    return folder / "t"


def environment_in(folder: Path) -> dict[str, str]:
    """Return the variables that the driver and the executors need."""
    return {"TMPDIR": str(temp_of(folder)), "PYTHONPATH": str(Path.cwd())}


def main() -> int:
    """Soak, print one line of JSON, and fail where anything was lost, doubled or left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("stand-in", "vllm"), default="stand-in")
    given = parser.parse_args()
    started = time.monotonic()
    # Not below another temp folder: the path of a unix socket has 107 bytes.
    with tempfile.TemporaryDirectory(
        prefix="soak-", dir="/tmp", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        temp_of(folder).mkdir()
        # Two cores each: two runs at once have two executors each.
        with running_cluster(folder, cores=2, environment=environment_in(folder)) as cluster:
            soak = Soak(folder, cluster, given.engine, given.seed)
            # A run may end before its last victim's time has come.
            for number in range(given.kills):
                if soak.found.killed.total() >= given.kills:
                    break
                soak.round(*ROUNDS[number % len(ROUNDS)])
            soak.two_at_once()
        found = soak.found
        (folder / "endpoint").mkdir()
        endpoint_found = endpoint.measure(folder / "endpoint")
        found.problems += endpoint_found.pop("problems")
    memory_mb = memory.measure(LONG_ROWS)
    if memory_mb["last_mb"] - memory_mb["first_mb"] > MOST_GROWTH_MB:
        found.problems.append(f"memory grew over {LONG_ROWS} pictures: {memory_mb}")
    result = {
        **found.figures(),
        **endpoint_found,
        **{f"memory_{name}": mb for name, mb in memory_mb.items()},
        "problems": found.problems,
        "engine": given.engine,
        "seed": given.seed,
        "seconds": round(time.monotonic() - started),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())

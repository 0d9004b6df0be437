"""What a tree of processes costs: CPU seconds, and memory at its peak, by the kernel's figures."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vlm4rec_spark.descriptions.lifeline import descendants

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
SAMPLE_S = 1.0
LOOK_S = 5.0


def tree() -> list[int]:
    """Return this process and all below it."""
    return [os.getpid(), *descendants(os.getpid())]


def kind(pid: int) -> str:
    """Return `driver` (this process), `jvm`, `worker` (Spark's Python) or `other`.

    Other is, for a moment, a JVM about to start a program.

    Raises:
        OSError: it has ended.
    """
    name = Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
    command = Path(f"/proc/{pid}/cmdline").read_text("utf-8")
    if name == "java":
        return "jvm"
    if "pyspark.daemon" in command:
        return "worker"
    return "driver" if pid == os.getpid() else "other"


class Tally:
    """CPU seconds of a tree of processes, those of Spark's ended workers included.

    The daemon that starts them ignores their end, so that the kernel forgets what they have taken;
    Spark ends a worker that was idle for a minute. A thread looks more often than that, from the
    first count on.
    """

    def __init__(self) -> None:
        self._workers: dict[tuple[int, str], float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def seconds(self) -> dict[str, float]:
        """Return CPU seconds, user and system, so far; see `kind`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self._look()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self._look()

    def _look(self) -> dict[str, float]:
        taken: dict[str, float] = defaultdict(float)
        with self._lock:
            for pid in tree():
                with contextlib.suppress(OSError):
                    what = kind(pid)
                    stat = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
                    seconds = sum(int(n) for n in stat[11:15]) / TICKS_PER_S
                    if what == "worker":
                        self._workers[pid, stat[19]] = seconds  # numbers are used again
                    else:
                        taken[what] += seconds
            taken["worker"] = sum(self._workers.values())
        return dict(taken)


_TALLY = Tally()


def cpu_s_by_kind() -> dict[str, float]:
    """Return the CPU seconds of the tree so far, ended processes included; see `kind`."""
    return _TALLY.seconds()


def cpu_s() -> float:
    """Return the CPU seconds of the whole tree so far."""
    return sum(cpu_s_by_kind().values())


def jvm_overhead_cpu_s() -> dict[str, float]:
    """Return the CPU seconds so far of the JVM's compilers and of its garbage collector.

    Threads that have ended are not in it.
    """
    seconds = {"jvm_compilers": 0.0, "jvm_collector": 0.0}
    for pid in tree():
        for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):
                name, _, rest = thread.read_text("utf-8").partition("(")[2].rpartition(")")
                if name.startswith(("C1 ", "C2 ")):
                    what = "jvm_compilers"
                elif name.startswith(("GC ", "G1 ")):
                    what = "jvm_collector"
                else:
                    continue
                seconds[what] += sum(int(n) for n in rest.split()[11:13]) / TICKS_PER_S
    return seconds


def pss_mb(pid: int, folder: str = "") -> float:
    """Return the memory of a process in MB, what it shares divided by those who share it.

    Args:
        pid: of the process.
        folder: count only what is mapped from files in it; empty: everything.
    """
    total, counts = 0, not folder
    lines = Path(f"/proc/{pid}/{'smaps' if folder else 'smaps_rollup'}").read_text("utf-8")
    for line in lines.splitlines():
        if folder and "-" in line.split(" ", 1)[0]:
            counts = folder in line
        elif counts and line.startswith("Pss:"):
            total += int(line.split()[1])
    return total / 1024


@dataclass
class Peak:
    """The most memory in MB, resident, of a JVM, of one Python worker, and of the tree at once.

    Workers are forked: what they share counts in each of them, so the sum is too high by that.
    """

    jvm: float = 0.0
    worker: float = 0.0
    total: float = 0.0
    _done: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Take one sample."""
        total = 0.0
        for pid in tree():
            with contextlib.suppress(OSError):
                what = kind(pid)
                resident = int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) * PAGE_MB
                if what == "jvm":
                    self.jvm = max(self.jvm, resident)
                elif what == "worker":
                    self.worker = max(self.worker, resident)
                elif what == "other":
                    continue  # it shows the memory of the JVM a second time
                total += resident
        self.total = max(self.total, total)

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self.look()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Sample once a second until the block ends."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

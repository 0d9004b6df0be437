"""What a tree of processes costs: CPU seconds, and memory at its peak, by the kernel's figures."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vlm4rec_spark.descriptions.lifeline import descendants

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
SAMPLE_S = 1.0


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


def cpu_s_by_kind() -> dict[str, float]:
    """Return the CPU seconds, user and system, of the tree so far, ended children included.

    See `kind`.
    """
    seconds: dict[str, float] = defaultdict(float)
    for pid in tree():
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
            ticks = sum(int(n) for n in stat.rpartition(")")[2].split()[11:15])
            seconds[kind(pid)] += ticks / TICKS_PER_S
    return seconds


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

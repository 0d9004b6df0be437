"""A standalone Spark cluster on loopback: a master and two workers, each a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyspark

from tests.ports import free_port
from vlm4rec_spark.session import SHORT_LIVED_JAVA

SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
PACKAGE = "org.apache.spark.deploy"
WORKERS = ("worker1", "worker2")
LONGEST_START_S = 120.0


@dataclass(frozen=True)
class Cluster:
    """A running cluster: where jobs find it, and the processes of its workers."""

    address: str
    workers: tuple[int, ...]


@contextlib.contextmanager
def running_cluster(
    folder: Path, *, cores: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Run a cluster whose logs, and what its workers write, are in a folder.

    Args:
        folder: for `master.log` and, of each worker, NAME.log and work-NAME.
        cores: of each worker.
        environment: variables of the executors beside those of this process.
    """
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    master = (f"{PACKAGE}.master.Master", "--host", "127.0.0.1", "--port", str(port))
    size = ("--cores", str(cores), "--memory", "2g")
    worker = (f"{PACKAGE}.worker.Worker", "--host", "127.0.0.1", *size)
    with contextlib.ExitStack() as stack:

        def start(name: str, *command: str) -> int:
            command = (*command, "--webui-port", str(free_port()))
            return stack.enter_context(_daemon(folder, name, command, environment or {}))

        start("master", *master)
        workers = [start(name, *worker, address) for name in WORKERS]
        _wait_for_workers(folder / "master.log")
        yield Cluster(address, tuple(workers))


@contextlib.contextmanager
def _daemon(
    folder: Path, name: str, command: tuple[str, ...], environment: Mapping[str, str]
) -> Iterator[int]:
    """Run a daemon of the cluster, its log in a file, and return its process."""
    ours = {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_TOOL_OPTIONS": SHORT_LIVED_JAVA,
        "SPARK_WORKER_DIR": str(folder / f"work-{name}"),
        "PYSPARK_PYTHON": sys.executable,
    }
    with (folder / f"{name}.log").open("wb") as log:
        daemon = subprocess.Popen(
            [str(SPARK_CLASS), *command],
            env={**os.environ, **ours, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield daemon.pid
    finally:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def _wait_for_workers(log: Path) -> None:
    deadline = time.monotonic() + LONGEST_START_S
    while (told := log.read_text("utf-8", "replace")).count("Registering worker") < len(WORKERS):
        assert time.monotonic() < deadline, told[-2000:]
        time.sleep(0.5)

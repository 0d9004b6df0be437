"""What a task of the describe stage holds in memory early on, and near its end.

Run as `python -m tests.soak.memory ROWS`: one task, without Spark, describes so many rows with a
picture each by the fake engine, in a process of its own. Ends with one line of JSON: the most MB
resident in the first tenth of the rows and in the last.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tests.bench.processes import PAGE_MB
from vlm4rec_spark import testing
from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions.specs import worker_spec
from vlm4rec_spark.descriptions.worker import describing

BATCH_ROWS = 100
DIFFERENT = 50


def measure(rows: int) -> dict[str, float]:
    """Describe so many rows in a process of its own; return `first_mb` and `last_mb`."""
    command = [sys.executable, "-m", "tests.soak.memory", str(rows)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def describe(rows: int) -> tuple[float, float]:
    """Return the most MB resident in the first tenth of the rows, and in the last."""
    spec = worker_spec(
        load_config(None, ["describe.engine.kind=fake", "describe.attributes=fashion"]), "run"
    )
    first = last = done = 0.0
    for batch in describing(spec)(_pending(rows)):
        done += batch.num_rows
        if done <= rows / 10:
            first = max(first, _resident_mb())
        elif done > rows - rows / 10:
            last = max(last, _resident_mb())
    return first, last


def _pending(rows: int) -> Iterator[pa.RecordBatch]:
    """Yield requests as Spark does, each with the bytes of its picture."""
    pictures = []
    for n, product in enumerate(testing.products(DIFFERENT)):
        content = testing.picture(product, n, side=64)
        sha256 = hashlib.sha256(content).hexdigest()
        pictures.append({"uri": None, "sha256": sha256, "content": content})
    for start in range(0, rows, BATCH_ROWS):
        yield pa.RecordBatch.from_pylist([
            {"request_key": f"k{n}", "category": "Dresses", "title": f"item {n}", "attempt": 1,
             "pictures": [pictures[n % DIFFERENT]]}
            for n in range(start, min(start + BATCH_ROWS, rows))
        ])  # fmt: skip


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * PAGE_MB


if __name__ == "__main__":
    first_mb, last_mb = describe(int(sys.argv[1]))
    sys.stdout.write(json.dumps({"first_mb": round(first_mb), "last_mb": round(last_mb)}) + "\n")

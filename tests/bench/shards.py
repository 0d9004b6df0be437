"""What a search task reads of the item matrix, whole and in shards: `make bench-shards`.

A matrix of synthetic items, and one block of users. Each task runs in a process of its own, over
files of which nothing is in the page cache, as on a machine that cannot keep them. Ends with one
line of JSON:

- `matrix_mb`: the vectors. `read_mb`: what each task has read from disk, the kernel's reading ahead
  included: lists from the `whole` matrix; or what the block asks (`ask`: the vectors of all
  histories), the search of each shard, and the merge (those of all candidates).
- `cpu_s`: the same in CPU seconds, user and system, reading included, after a few users have loaded
  the compiled code. `cpu_ratio`: all tasks with shards over lists from the whole matrix.
- `passed_mb`: questions, which are kept on disk, and notes, which are shuffled.
- `same_lists`: whether they are the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.bench.figures import rounded
from tests.bench.vector_shop import Shop
from vlm4rec_spark.benchmarks.topk import THREADS
from vlm4rec_spark.profiles.vectors import histories
from vlm4rec_spark.topk.engines.choice import EngineSpec, open_engine, open_parted
from vlm4rec_spark.topk.engines.parts import Foreseen, Listener, parts, searched
from vlm4rec_spark.topk.lists import ListSpec, allowed_lines, block_lists, first_candidates
from vlm4rec_spark.topk.snapshot import load_snapshot
from vlm4rec_spark.topk.snapshot_files import write_snapshot

WARM_UP = 64


@dataclass(frozen=True)
class Task:
    """One step of making the lists of a block."""

    folder: str
    lists: ListSpec
    step: str
    """whole, ask, search or merge."""
    rows: pa.Table
    """History; or questions, for a search."""
    part: range = range(0)
    notes: pa.Table | None = None
    shards: int = 1

    def run(self) -> tuple[pa.Table, float, float]:
        """Return what is made, MB read from disk, CPU seconds; in a process of its own."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(self._measured).result()

    def _measured(self) -> tuple[pa.Table, float, float]:
        self._made(self.rows.slice(0, WARM_UP))
        load_snapshot.cache_clear()
        for path in Path(self.folder).iterdir():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        read, started = _read_mb(), time.process_time()
        made = self._made(self.rows)
        return made, _read_mb() - read, time.process_time() - started

    def _made(self, rows: pa.Table) -> pa.Table:
        snapshot, spec = load_snapshot(self.folder), self.lists
        if self.step == "search":
            engine = open_parted(spec.engine, snapshot)
            return searched(rows, allowed_lines(snapshot), engine, self.part)
        block = histories(rows, snapshot.find(rows["item_id"].combine_chunks()))
        if self.step == "ask":
            listener = Listener()
            first_candidates(snapshot, block, spec, listener)
            return listener.questions()
        foreseen = None
        if self.notes is not None:
            foreseen = Foreseen(open_engine(spec.engine, snapshot), self.notes, self.shards)
        return block_lists(snapshot, block, spec, foreseen)


def _read_mb() -> float:
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["read_bytes"]) / 2**20


def drawn(options: argparse.Namespace, folder: str) -> pa.Table:
    """Write the matrix and return the history of one block of users."""
    shop = Shop.drawn(options.items, options.users)
    ids = pa.array([f"i{item:07d}" for item in range(options.items)])
    items = pa.table({"item_id": ids, "available": pa.array([True] * options.items)})
    write_snapshot(Path(folder), items, shop.vectors)
    os.sync()  # only what is on disk leaves the page cache
    pairs = np.unique(np.stack([shop.users, shop.items]), axis=1)
    return pa.table(
        {
            "user_id": pa.array([f"u{user:07d}" for user in pairs[0]]),
            "item_id": ids.take(pa.array(pairs[1])),
            "weight": pa.array(np.ones(len(pairs[0]))),
            "seen": pa.array(np.ones(len(pairs[0]), bool)),
        }
    )


def run(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Make the lists of a block from the whole matrix, and from shards."""
    history = drawn(options, folder)
    lists = ListSpec(EngineSpec("list_major", options.width), options.k)
    shards = options.shards
    whole, whole_mb, whole_s = Task(folder, lists, "whole", history).run()
    asked, ask_mb, ask_s = Task(folder, lists, "ask", history).run()
    found = [
        Task(folder, lists, "search", asked, part).run() for part in parts(options.items, shards)
    ]
    notes = pa.concat_tables([table for table, _, _ in found])
    merge = Task(folder, lists, "merge", history, notes=notes, shards=shards)
    merged, merge_mb, merge_s = merge.run()
    shards_mb, shards_s = [mb for _, mb, _ in found], [seconds for _, _, seconds in found]
    return {
        "matrix_mb": (Path(folder) / "vectors.npy").stat().st_size / 2**20,
        "read_mb": {"whole": whole_mb, "ask": ask_mb, "shards": shards_mb, "merge": merge_mb},
        "cpu_s": {"whole": whole_s, "ask": ask_s, "shards": shards_s, "merge": merge_s},
        "cpu_ratio": (ask_s + sum(shards_s) + merge_s) / whole_s,
        "passed_mb": {"questions": asked.nbytes / 2**20, "notes": notes.nbytes / 2**20},
        "same_lists": merged.equals(whole),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=8192)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--width", type=int, default=40)
    parser.add_argument("--k", type=int, default=100)
    options = parser.parse_args(arguments)
    os.environ.update(dict.fromkeys(THREADS, "1"))  # as in Spark's workers
    with tempfile.TemporaryDirectory(prefix="bench-shards-", dir=".") as folder:
        answer = run(options, f"{folder}/snapshot-bench")
    sys.stdout.write(json.dumps(rounded(answer | vars(options), 2)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

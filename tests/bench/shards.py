"""What a search task reads of the item matrix, whole and in shards: `make bench-shards`.

A matrix of synthetic items, and one block of users. Each task runs in a process of its own, over
files of which nothing is in the page cache, as on a machine that cannot keep them. Ends with one
line of JSON:

- `matrix_mb`: the vectors. `read_mb`: what each task has read from disk, the kernel's reading ahead
  included: that of the whole matrix, those of single shards, and the merge. A task also reads the
  vectors of the histories of its users, wherever they are; the merge those of all candidates.
- `cpu_s`: user and system, reading included, after a few users have loaded the compiled code.
  `cpu_ratio`: all tasks of the shards and the merge, over lists from the whole matrix.
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

from tests.bench.vector_shop import Shop
from vlm4rec_spark.profiles.vectors import histories
from vlm4rec_spark.topk.engines.choice import EngineSpec, open_engine, open_parted
from vlm4rec_spark.topk.engines.parts import Foreseen, PartSearch, parts
from vlm4rec_spark.topk.lists import ListSpec, block_lists, first_candidates
from vlm4rec_spark.topk.paging import scanning
from vlm4rec_spark.topk.snapshot import load_snapshot
from vlm4rec_spark.topk.snapshot_files import write_snapshot

WARM_UP = 64


@dataclass(frozen=True)
class Task:
    """Lists of a block, or what one of some shards has for them."""

    folder: str
    history: pa.Table
    lists: ListSpec
    shards: int = 1
    shard: int | None = None
    """None: lists are made, from notes where there are any."""
    notes: pa.Table | None = None

    def run(self) -> tuple[pa.Table, float, float]:
        """Return notes or lists, MB read from disk, CPU seconds; in a process of its own."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(self._measured).result()

    def _measured(self) -> tuple[pa.Table, float, float]:
        self._made(self.history.slice(0, WARM_UP))
        load_snapshot.cache_clear()
        for path in Path(self.folder).iterdir():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        read, started = _read_mb(), time.process_time()
        made = self._made(self.history)
        return made, _read_mb() - read, time.process_time() - started

    def _made(self, history: pa.Table) -> pa.Table:
        snapshot, spec = load_snapshot(self.folder), self.lists
        block = histories(history, snapshot.find(history["item_id"].combine_chunks()))
        if self.shard is not None:
            part = parts(len(snapshot), self.shards)[self.shard]
            search = PartSearch(open_parted(spec.engine, snapshot), part)
            with scanning(snapshot.vectors, part):
                first_candidates(snapshot, block, spec, search)
            return search.notes()
        engine = open_engine(spec.engine, snapshot)
        if self.notes is None:
            return block_lists(snapshot, block, spec, engine)
        with scanning(snapshot.vectors, range(0)):
            return block_lists(snapshot, block, spec, Foreseen(engine, self.notes, self.shards))


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
    _, whole_mb, _ = Task(folder, history, lists, 1, 0).run()
    whole, lists_mb, lists_s = Task(folder, history, lists).run()
    found = [Task(folder, history, lists, shards, shard).run() for shard in range(shards)]
    notes = pa.concat_tables([table for table, _, _ in found])
    merged, merge_mb, merge_s = Task(folder, history, lists, shards, None, notes).run()
    shards_s = [seconds for _, _, seconds in found]
    return {
        "matrix_mb": (Path(folder) / "vectors.npy").stat().st_size / 2**20,
        "read_mb": {
            "whole": whole_mb, "shards": [mb for _, mb, _ in found],
            "lists_from_whole": lists_mb, "merge": merge_mb,
        },
        "cpu_s": {"lists_from_whole": lists_s, "shards": shards_s, "merge": merge_s},
        "cpu_ratio": (sum(shards_s) + merge_s) / lists_s,
        "notes_mb": notes.nbytes / 2**20,
        "same_lists": merged.equals(whole),
    }  # fmt: skip


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 2) if isinstance(value, float) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=8192)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--width", type=int, default=40)
    parser.add_argument("--k", type=int, default=100)
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = (
        "1"  # as in Spark's workers
    )
    with tempfile.TemporaryDirectory(prefix="bench-shards-", dir=".") as folder:
        answer = run(options, f"{folder}/snapshot-bench")
    sys.stdout.write(json.dumps(_rounded(answer | vars(options))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

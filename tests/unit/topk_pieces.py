"""Pieces for the tests of lists: a catalogue in memory, random histories, brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.profiles.vectors import Fusion, Histories, histories
from vlm4rec_spark.topk import snapshot as files
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.engines.leaves import build_leaves
from vlm4rec_spark.topk.lists import ListSpec, block_lists
from vlm4rec_spark.topk.snapshot import Snapshot

WORDS = pa.map_(pa.string(), pa.string())


def unit(rng: np.random.Generator, n: int, d: int) -> npt.NDArray[np.float32]:
    """Return random unit rows."""
    rows = rng.normal(size=(n, d))
    scaled: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled.astype(np.float32)


def clustered(rng: np.random.Generator, n: int, d: int, clusters: int) -> npt.NDArray[np.float32]:
    """Return unit rows around some centres."""
    rows = unit(rng, clusters, d)[rng.integers(0, clusters, n)] + 0.08 * rng.normal(size=(n, d))
    scaled: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled.astype(np.float32)


def fused_lists(
    state: Snapshot, table: pa.Table, fusion: Fusion, **more: Any
) -> dict[str, list[dict[str, Any]]]:
    """Return the ten best of each user by late fusion, exactly."""
    spec = ListSpec(EngineSpec("exact"), 10, fusion=fusion, **more)
    return by_user(block_lists(state, block(state, table), spec))


def by_user(made: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each user's list."""
    users: dict[str, list[dict[str, Any]]] = {}
    for row in made.to_pylist():
        users.setdefault(row["user_id"], []).append(row)
    return users


def item_table(n: int, available: list[bool] | None = None) -> pa.Table:
    """Return n items i000, i001 ... as a snapshot stores them."""
    columns = {
        "item_id": [f"i{i:03d}" for i in range(n)],
        "title": [f"Item {i}" for i in range(n)],
        "available": available or [True] * n,
        "brand": [f"b{i % 4}" for i in range(n)],
        "words": pa.array([[("style", f"s{i % 3}")] for i in range(n)], WORDS),
    }
    table = pa.table(columns)
    full = [
        table[f.name] if f.name in columns else pa.nulls(n, f.type).cast(f.type)
        for f in files.ITEMS
    ]
    return pa.table(full, schema=files.ITEMS)


def snapshot(
    seed: int,
    n: int,
    available: list[bool] | None = None,
    vectors: npt.NDArray[np.float32] | None = None,
) -> Snapshot:
    """Return a snapshot in memory; row i is item i."""
    rows = unit(np.random.default_rng(seed), n, 6) if vectors is None else vectors
    leaves, _ = build_leaves(rows)
    return Snapshot(
        folder=Path("nowhere"),
        items=item_table(n, available),
        vectors=rows,
        leaves=leaves,
        rank=np.arange(n),
        popularity=np.arange(n, 0, -1, dtype=np.float64)[None, :],
        allowed=np.array([available or [True] * n]),
        promoted=np.zeros((0, n), bool),
        business=np.zeros(n),
    )


def block(state: Snapshot, table: pa.Table) -> Histories:
    """Return the histories in a table of user_id, item_id, weight, seen."""
    return histories(table, state.find(table["item_id"].combine_chunks()))


def history(*rows: tuple[str, str | None, float, bool]) -> pa.Table:
    """Return a history of user_id, item_id, weight, seen."""
    users, items, weights, seen = zip(*rows, strict=True)
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array(items, pa.string()),
            "weight": pa.array(weights, pa.float64()),
            "seen": pa.array(seen, pa.bool_()),
        }
    )


def random_history(rng: np.random.Generator, users: int, n: int, share: float) -> pa.Table:
    """Return a random history; every user is named at least once."""
    rows: list[tuple[str, str | None, float, bool]] = [
        (f"u{u}", f"i{i:03d}", float(rng.integers(0, 3)), bool(rng.random() < 0.8))
        for u in range(users)
        for i in range(n)
        if rng.random() < share
    ]
    return history(*rows, *((f"u{u}", None, 0.0, False) for u in range(users)))

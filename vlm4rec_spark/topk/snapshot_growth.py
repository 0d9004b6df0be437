"""The matrix of a catalogue that changed a little: made from the one before, not anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vlm4rec_spark.topk.engines.leaves import ONE_LEAF_BELOW, nearest_leaf
from vlm4rec_spark.topk.snapshot_files import Grown

if TYPE_CHECKING:
    from vlm4rec_spark.topk.snapshot import Snapshot, Vectors

MOST_GROWN = 0.2
"""Rows put into leaves that were built without them; with more of them leaves are built anew."""
FRESH = ("available", "first_seen")
"""Columns that no hash covers: they change without the item becoming another one."""


def grown_rows(snapshot: Snapshot) -> int:
    """Return how many rows were put in since the leaves were built."""
    return int(json.loads((snapshot.folder / "meta.json").read_text("utf-8"))["grown"])


def to_fetch(before: Snapshot, facts: pa.Table) -> pa.Array | None:
    """Return the ids of items that are new or changed; None where all should be made anew.

    Args:
        before: the matrix to start from.
        facts: item_id and hash of all items now.
    """
    if before.hashes is None:
        return None
    row = before.find(facts["item_id"].combine_chunks())
    changed = (row < 0) | (before.hashes[row] != facts["hash"].to_numpy())
    n = len(facts)
    has_one_leaf = len(before.leaves.centroids) == 1
    if grown_rows(before) + changed.sum() > MOST_GROWN * n or has_one_leaf != (n < ONE_LEAF_BELOW):
        return None
    return facts["item_id"].combine_chunks().filter(pa.array(changed))


def grown(
    before: Snapshot, facts: pa.Table, fetched: pa.Table, vectors: Vectors
) -> tuple[pa.Table, Vectors, str, Grown]:
    """Return what `snapshot_files.write_grown` writes.

    Args:
        before: the matrix to start from.
        facts: item_id, hash, available and first_seen of all items now.
        fetched: columns of the items that are new or changed.
        vectors: (m, d) theirs.
    """
    ids = facts["item_id"].combine_chunks()
    order = np.argsort(np.asarray(ids.to_pylist(), dtype=np.str_), kind="stable")
    facts, ids = facts.take(pa.array(order)), ids.take(pa.array(order))
    new = pa.compute.index_in(ids, value_set=fetched["item_id"].combine_chunks())
    new = np.asarray(new.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    old = before.find(ids)
    n_old = len(before)
    place = np.where(new >= 0, n_old + new, old)
    stored = before.items.schema
    both = pa.concat_tables([before.items, fetched.select(stored.names).cast(stored)])
    items = both.take(pa.array(place))
    for name in FRESH:
        at = items.column_names.index(name)
        items = items.set_column(at, items.schema.field(at), facts[name].cast(items[name].type))
    rows = np.empty((len(ids), before.vectors.shape[1]), np.float32)
    rows[new < 0] = before.vectors[old[new < 0]]
    rows[new >= 0] = vectors[new[new >= 0]]
    leaf = before.leaves.of_rows[np.where(new < 0, old, 0)]
    leaf[new >= 0] = nearest_leaf(rows[new >= 0], before.leaves.centroids)
    centroids = np.ascontiguousarray(before.leaves.centroids)
    put_in = grown_rows(before) + len(fetched)
    items = items.append_column("hash", facts["hash"])
    return items, rows, before.encoder, Grown(centroids, leaf, put_in)

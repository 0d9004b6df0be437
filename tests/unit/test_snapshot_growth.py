"""A matrix grown from the one before holds what one built anew holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.topk_pieces import clustered, item_table
from vlm4rec_spark.topk import snapshot_growth
from vlm4rec_spark.topk.engines import leaves as leaves_module
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.engines.list_major import ListMajorEngine
from vlm4rec_spark.topk.snapshot import Snapshot, load_snapshot
from vlm4rec_spark.topk.snapshot_files import write_grown, write_snapshot
from vlm4rec_spark.topk.snapshot_growth import grown, grown_rows, to_fetch

if TYPE_CHECKING:
    from pathlib import Path

N, D = 60, 6


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """Return a matrix of several leaves, small as it is."""
    monkeypatch.setattr(leaves_module, "ONE_LEAF_BELOW", 10)
    monkeypatch.setattr(snapshot_growth, "ONE_LEAF_BELOW", 10)
    items = item_table(N).append_column("hash", pa.array(np.arange(N)))
    write_snapshot(
        tmp_path / "snapshot-a", items, clustered(np.random.default_rng(1), N, D, 4), "e@1"
    )
    return load_snapshot(str(tmp_path / "snapshot-a"))


def facts_after() -> pa.Table:
    """Return facts in any order: 5 is gone, 7 is another, 60 is new, 8 is sold out."""
    numbers = [n for n in range(N + 1) if n != 5][::-1]
    table = item_table(N + 1, [n != 8 for n in range(N + 1)]).take(pa.array(numbers))
    hashes = [n + 1000 if n == 7 else n for n in numbers]
    facts = table.select(["item_id", "available", "first_seen"])
    return facts.append_column("hash", pa.array(hashes, pa.int64()))


def test_only_new_and_changed_items_are_fetched(before: Snapshot) -> None:
    ids = to_fetch(before, facts_after())
    assert ids is not None
    assert sorted(ids.to_pylist()) == ["i007", "i060"]


def test_a_grown_matrix_holds_all_rows_in_leaves_that_engines_can_walk(
    before: Snapshot, tmp_path: Path
) -> None:
    fetched = item_table(N + 1).take(pa.array([60, 7]))
    vectors = clustered(np.random.default_rng(2), 2, D, 2)
    write_grown(tmp_path / "snapshot-b", *grown(before, facts_after(), fetched, vectors))
    after = load_snapshot(str(tmp_path / "snapshot-b"))
    assert len(after) == N
    assert after.encoder == "e@1"
    assert grown_rows(after) == 2
    names = after.ids.to_pylist()
    assert sorted(names) == [n for n in sorted(names) if n != "i005"]
    assert [names[i] for i in np.argsort(after.rank)] == sorted(names)
    assert [names[i] for i in np.flatnonzero(~after.allowed[0])] == ["i008"]
    assert after.hashes is not None
    assert after.hashes[names.index("i007")] == 1007
    for name, row in (("i060", vectors[0]), ("i007", vectors[1]), ("i011", None)):
        wanted = before.vectors[before.ids.to_pylist().index(name)] if row is None else row
        np.testing.assert_array_equal(after.vectors[names.index(name)], wanted)
    engine = ListMajorEngine(after.vectors, after.leaves, 2)
    found = engine.nearest(np.ascontiguousarray(after.vectors), 1, Masks.nothing(N, N))
    assert (found[:, 0] == np.arange(N)).mean() > 0.9


def test_much_growth_or_unknown_hashes_build_leaves_anew(before: Snapshot, tmp_path: Path) -> None:
    facts = facts_after()
    others = facts.set_column(3, "hash", pa.array(np.arange(len(facts)) + 5000))
    assert to_fetch(before, others) is None
    write_snapshot(tmp_path / "snapshot-c", item_table(N), np.asarray(before.vectors), "e@1")
    assert to_fetch(load_snapshot(str(tmp_path / "snapshot-c")), facts) is None

"""How wide an engine must search for the lists that are made, rules and all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.topk_pieces import clustered, random_history, snapshot
from vlm4rec_spark.config_lists import TopkConfig
from vlm4rec_spark.topk.engines import leaves as leaves_module
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.engines.leaves import build_leaves
from vlm4rec_spark.topk.engines.list_major import WIDEST
from vlm4rec_spark.topk.lists import ListSpec
from vlm4rec_spark.topk.tuning import audit, audit_neighbours, engine_for

if TYPE_CHECKING:
    from vlm4rec_spark.topk.snapshot import Snapshot

N = 900


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """Return a catalogue in leaves."""
    monkeypatch.setattr(leaves_module, "ONE_LEAF_BELOW", 100)
    rows = clustered(np.random.default_rng(2), N, 16, 30)
    leaves, order = build_leaves(rows)
    return replace(snapshot(0, N, vectors=np.ascontiguousarray(rows[order])), leaves=leaves)


def test_a_search_is_tuned_and_audited_under_the_rules_of_the_users(state: Snapshot) -> None:
    rng = np.random.default_rng(2)
    rare = np.arange(N) % 12 == 0  # a search must reach twelve times as many items for these
    state = replace(state, allowed=np.stack([np.ones(N, bool), rare]))
    table = random_history(rng, 40, N, 0.01)
    table = table.append_column("segment", pa.array(["luxury"] * len(table)))
    anybody = ListSpec(EngineSpec("list_major", 20), 10)
    ruled = replace(anybody, segments=("luxury",), has_user_rules=True)
    assert audit(state, table, ruled).mean < audit(state, table, anybody).mean - 0.02
    settings = TopkConfig(engine="list_major", recall_target=0.98)
    wide, wider = (engine_for(state, table, settings, 40, spec) for spec in (anybody, ruled))
    assert wide.width < wider.width
    assert audit(state, table, replace(ruled, engine=wider)).mean >= 0.98


def test_the_search_for_neighbours_is_audited_on_items_of_its_own(state: Snapshot) -> None:
    narrow, wide = (ListSpec(EngineSpec("list_major", width), 10) for width in (1, WIDEST))
    first, second = (audit_neighbours(state, narrow, 300, number) for number in (1, 2))
    assert first.mean < 0.98
    assert first != second
    assert audit_neighbours(state, wide, 300, 1).mean == 1.0
    nothing = audit_neighbours(state, replace(narrow, k=0), 300, 1)
    assert (nothing.mean, nothing.users) == (1.0, 0)

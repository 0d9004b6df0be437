"""Lists after a change: those touched are made anew or merged, and equal what a full run makes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.topk_pieces import block, history, item_table, random_history, snapshot, unit
from vlm4rec_spark.config import load_config
from vlm4rec_spark.errors import InvariantError
from vlm4rec_spark.profiles.vectors import Fusion
from vlm4rec_spark.refresh import lists as refreshed
from vlm4rec_spark.refresh.changes import item_changes, reaching
from vlm4rec_spark.refresh.lists import Marks, Moved, refreshed_lists, refreshed_neighbours
from vlm4rec_spark.refresh.state import Drift, State, signature, why_anew
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.lists import ListSpec, block_lists
from vlm4rec_spark.topk.ranking import ranked
from vlm4rec_spark.topk.rerank import Rerank

if TYPE_CHECKING:
    from pathlib import Path

    from vlm4rec_spark.topk.snapshot import Snapshot

EXACT = EngineSpec("exact")
SPECS = (
    ListSpec(EXACT, 1),
    ListSpec(EXACT, 1, Rerank(caps=(("brand", 2),))),
    ListSpec(EXACT, 1, Rerank(relevance=0.6, near_equal=0.95)),
    ListSpec(EXACT, 1, interests=2),
    ListSpec(EXACT, 1, fusion=Fusion("max")),
    ListSpec(EXACT, 1, fusion=Fusion("softmax", 10.0)),
)
Row = dict[str, Any]
Lists = dict[str, list[Row]]


def catalogue(rng: np.random.Generator, items: dict[int, int]) -> Snapshot:
    """Return the items of these numbers; another version of an item is another vector."""
    numbers = sorted(items)
    rows = np.concatenate([unit(np.random.default_rng([n, items[n]]), 1, 6) for n in numbers])
    available = [bool(rng.random() < 0.8) for _ in numbers]
    state = snapshot(0, len(numbers), available, rows)
    table = item_table(max(numbers) + 1).take(pa.array(numbers))
    hashes = np.array([hash((n, items[n])) for n in numbers], np.int64)
    return replace(state, items=table, hashes=hashes)


def drawn(rng: np.random.Generator, n: int) -> tuple[Snapshot, Snapshot]:
    """Return a catalogue, and what it is after some items came, left, changed, sold out."""
    before = dict.fromkeys(range(n), 0)
    after = {i: int(rng.random() < 0.1) for i in before if rng.random() < 0.9}
    after |= {n + i: 0 for i in range(int(rng.integers(0, 6)))} or {0: 0}
    return catalogue(rng, before), catalogue(rng, after or {0: 0})


def by_user(rows: list[Row]) -> Lists:
    lists: Lists = {}
    for row in sorted(rows, key=lambda row: (row["user_id"], row["rank"])):
        if row["rank"] > 0:
            lists.setdefault(row["user_id"], []).append(row)
    return lists


def floors_of(lists: Lists, users: list[str]) -> np.ndarray:
    return np.array([float(lists[u][0]["floor"] or 0) if u in lists else -np.inf for u in users])


def merged(stored: Lists, made: pa.Table, k: int) -> Lists:
    """Do what the merge of the table does."""
    rows = made.to_pylist()
    anew = by_user([row for row in rows if row["is_whole"]])
    result = {
        user: old
        for user, old in stored.items()
        if user not in {row["user_id"] for row in rows if row["is_whole"]}
    }
    entered: Lists = {}
    for row in rows:
        if not row["is_whole"]:
            entered.setdefault(row["user_id"], []).append(row)
    for user, new in entered.items():
        found = sorted([*result[user], *new], key=lambda row: (-row["score"], row["item_id"]))
        result[user] = [{**row, "rank": place} for place, row in enumerate(found[:k], start=1)]
    return result | anew


def told(lists: Lists) -> dict[str, list[tuple[Any, ...]]]:
    names = ("rank", "item_id", "score", "because_item_id", "reason", "arm")
    return {u: [tuple(row[name] for name in names) for row in rows] for u, rows in lists.items()}


@settings(max_examples=150)
@given(st.integers(0, 100_000), st.integers(3, 60), st.integers(1, 8), st.sampled_from(SPECS))
@example(42, 42, 2, SPECS[3])  # a list of two interests that stays is not in the order of scores
def test_changed_lists_are_those_of_a_full_run(seed: int, n: int, k: int, kind: ListSpec) -> None:
    rng = np.random.default_rng(seed)
    before, after = drawn(rng, n)
    spec = replace(kind, k=k)
    table = random_history(rng, 6, n, 0.2)
    users = block(before, table).users
    stored = by_user(block_lists(before, block(before, table), spec).to_pylist())
    rows = [r for r in table.to_pylist() if (r["user_id"], r["item_id"]) != ("u1", "i001")]
    bought = history(*(tuple(r.values()) for r in rows), ("u1", "i001", 2.0, True))
    now = block(after, bought)
    full = by_user(block_lists(after, now, spec).to_pylist())

    changes = item_changes(before, after)
    named = set(changes.named.to_pylist())
    whole = [
        user == "u1" or any(
            row["user_id"] == user and row["item_id"] in named for row in bought.to_pylist()
        )
        for user in users
    ]  # fmt: skip
    marks = Marks(np.array(whole), floors_of(stored, users))
    moved = Moved(changes.arrived, np.ascontiguousarray(before.vectors[changes.departed]))
    made = refreshed_lists(after, now, marks, moved, spec)
    assert told(merged(stored, made, k)) == told(full)


def test_a_seen_item_that_would_enter_a_list_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    before, after = (catalogue(rng, dict.fromkeys(range(n), 0)) for n in (12, 13))
    open_ = np.ones((1, 13), bool)
    after = replace(after, allowed=open_)
    now, spec = block(after, history(("u", "i000", 1.0, True))), ListSpec(EXACT, 3)
    moved = Moved(np.array([12]), before.vectors[:0])
    marks = Marks(np.array([False]), np.array([-1.0]))
    assert set(refreshed_lists(after, now, marks, moved, spec)["item_id"].to_pylist()) == {"i012"}
    monkeypatch.setattr(refreshed, "padded", lambda *_: (np.array([0]), np.array([[0]])))
    with pytest.raises(InvariantError, match="seen"):
        refreshed_lists(after, now, marks, moved, spec)


def test_nothing_is_made_where_nothing_changed() -> None:
    rng = np.random.default_rng(4)
    state = catalogue(rng, dict.fromkeys(range(30), 0))
    table = random_history(rng, 5, 30, 0.3)
    now, spec = block(state, table), ListSpec(EXACT, 5)
    stored = by_user(block_lists(state, now, spec).to_pylist())
    changes = item_changes(state, state)
    assert changes.count == 0
    marks = Marks(np.zeros(len(now.users), bool), floors_of(stored, now.users))
    moved = Moved(changes.arrived, state.vectors[changes.departed])
    assert len(refreshed_lists(state, now, marks, moved, spec)) == 0


@settings(max_examples=40)
@given(st.integers(0, 100_000), st.integers(8, 30))
def test_changed_neighbours_are_those_of_a_full_run(seed: int, n: int) -> None:
    rng, k = np.random.default_rng(seed), 2
    before, after = drawn(rng, n)

    def neighbours(state: Snapshot, rows: np.ndarray) -> dict[str, list[tuple[str, float]]]:
        itself = Masks(rows, np.arange(len(rows) + 1), state.allowed, np.zeros(len(rows), int))
        queries = np.ascontiguousarray(state.vectors[rows])
        return named(state, ranked(state, ExactEngine(state.vectors), queries, k, itself), rows)

    def named(state: Snapshot, found: Any, rows: np.ndarray) -> dict[str, list[tuple[str, float]]]:
        return {
            state.ids[int(row)].as_py(): [
                (state.ids[int(item)].as_py(), float(score))
                for item, score in zip(items, scores, strict=True)
                if item >= 0
            ]
            for row, items, scores in zip(rows, found.rows, found.scores, strict=True)
        }

    stored, full = (neighbours(s, np.arange(len(s))) for s in (before, after))
    changes = item_changes(before, after)
    is_new = np.isin(np.arange(len(after)), changes.renewed)
    lists = [stored.get(name, []) for name in after.ids.to_pylist()]
    floors = np.array([found[-1][1] if len(found) == k else -np.inf for found in lists])
    moved = Moved(changes.arrived, np.ascontiguousarray(before.vectors[changes.departed]))
    anew, targets, added, entered = refreshed_neighbours(
        after, np.arange(len(after)), Marks(is_new, floors), moved, (ExactEngine(after.vectors), k)
    )
    result = {name: found for name, found in stored.items() if name in full}
    for name, found in named(after, added, entered).items():
        result[name] = sorted([*result[name], *found], key=lambda pair: (-pair[1], pair[0]))[:k]
    assert result | named(after, anew, targets) == full


def test_an_item_is_changed_when_its_facts_are_or_when_it_may_no_longer_be_listed() -> None:
    rng = np.random.default_rng(0)
    before = replace(catalogue(rng, {0: 0, 1: 0, 2: 0, 3: 0}), allowed=np.ones((1, 4), bool))
    after = catalogue(rng, {1: 1, 2: 0, 3: 0, 7: 0})
    after = replace(after, allowed=np.array([[True, False, True, True]]))
    changes = item_changes(before, after)
    assert after.ids.take(pa.array(changes.arrived)).to_pylist() == ["i001", "i007"]
    assert before.ids.take(pa.array(changes.departed)).to_pylist() == ["i000", "i001", "i002"]
    assert sorted(changes.named.to_pylist()) == ["i000", "i001", "i007"]
    assert changes.gone.to_pylist() == ["i000"]


def test_a_list_with_room_is_reached_by_everything() -> None:
    rows = unit(np.random.default_rng(1), 5, 4)
    pairs = reaching(rows[:2], rows, np.array([-np.inf, 0.9999]))
    assert pairs.tolist() == [[0, 0, 0, 0, 0, 1], [0, 1, 2, 3, 4, 1]]


def test_a_run_goes_on_only_from_a_finished_one_with_the_same_settings_and_tables(
    tmp_path: Path,
) -> None:
    config = load_config(None, ["topk.k=5"])
    state = State(signature(config), "snapshot", {"lists": 3}, engine=("scann", 7))
    state.write(tmp_path / "state.json")
    assert State.read(tmp_path / "state.json") == state
    assert State.read(tmp_path / "none.json") is None
    assert why_anew(state, state) is None
    assert "no finished run" in str(why_anew(None, state))
    assert "lists was changed" in str(why_anew(state, replace(state, rows={"lists": 4})))
    for settings_, is_other in ((["topk.k=6"], True), (["topk.k=5", "topk.audit_users=9"], False)):
        other = replace(state, signature=signature(load_config(None, settings_)))
        assert (why_anew(state, other) is not None) == is_other


@pytest.mark.parametrize(
    ("users", "items", "said"), [(30, 5, None), (31, 5, "users"), (0, 9, "items")]
)
def test_too_much_drift_says_what_drifted(users: int, items: int, said: str | None) -> None:
    found = Drift(100, users, 20, items).beyond(0.3)
    assert (found is None) == (said is None)
    assert said is None or said in str(found)

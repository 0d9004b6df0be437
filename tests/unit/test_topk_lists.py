"""Lists and engines against an independent brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm4rec_spark.errors import SchemaError
from vlm4rec_spark.profiles.vectors import histories
from vlm4rec_spark.topk import engines
from vlm4rec_spark.topk.audit import recall
from vlm4rec_spark.topk.engines import ExactSearcher, ScannSearcher, build_index
from vlm4rec_spark.topk.lists import Entry, candidates, lists_for
from vlm4rec_spark.topk.reasons import profile_reason, shared_words, similar_reason
from vlm4rec_spark.topk.snapshot import (
    Snapshot,
    load_snapshot,
    write_popularity,
    write_snapshot,
)

WORDS = pa.map_(pa.string(), pa.string())


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Return random unit rows."""
    rows = rng.normal(size=(n, d))
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled.astype(np.float32)


def item_table(n: int, available: list[bool]) -> pa.Table:
    """Return n items i000, i001 ... as a snapshot stores them."""
    return pa.table(
        {
            "item_id": [f"i{i:03d}" for i in range(n)],
            "title": [f"Item {i}" for i in range(n)],
            "available": available,
            "words": pa.array([[("style", f"s{i % 3}")] for i in range(n)], WORDS),
        }
    )


def snapshot(seed: int, n: int, available: list[bool]) -> Snapshot:
    """Return a snapshot in memory."""
    table = item_table(n, available)
    return Snapshot(
        folder=Path("nowhere"),
        ids=np.asarray(table["item_id"].to_pylist(), np.str_),
        vectors=unit(np.random.default_rng(seed), n, 6),
        available=np.flatnonzero(available),
        popularity=np.arange(n, 0, -1, dtype=np.float64),
        titles=table["title"].to_pylist(),
        words=[dict(w) for w in table["words"].to_pylist()],
    )


def log(rng: np.random.Generator, users: int, n: int, share: float) -> pa.Table:
    """Return a random history of `users` users."""
    pairs = [(u, i) for u in range(users) for i in range(n) if rng.random() < share]
    return pa.table(
        {
            "user_id": pa.array([f"u{u}" for u, _ in pairs], pa.string()),
            "item_id": pa.array([f"i{i:03d}" for _, i in pairs], pa.string()),
            "weight": pa.array([float(rng.integers(0, 3)) for _ in pairs], pa.float64()),
            "seen": pa.array([bool(rng.random() < 0.8) for _ in pairs], pa.bool_()),
        }
    )


def by_user(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Group the entries."""
    users: dict[str, list[Entry]] = {}
    for entry in entries:
        users.setdefault(entry.user_id, []).append(entry)
    return users


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12), st.floats(0, 0.9))
def test_every_user_gets_min_k_eligible_items_that_are_the_best_by_brute_force(
    seed: int, n: int, k: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    state = snapshot(seed, n, [bool(rng.random() < 0.7) for _ in range(n)])
    table = log(rng, 5, n, share)
    block = histories(table, state.ids)
    lists = by_user(list(lists_for(state, block, k, "exact")))
    for number, user in enumerate(block.users):
        part = block.of(number)
        seen = set(block.rows[part][block.seen[part]].tolist())
        eligible = [i for i in state.available.tolist() if i not in seen]
        got = lists.get(user, [])
        assert [e.rank for e in got] == list(range(1, min(k, len(eligible)) + 1))
        ids = [int(e.item_id[1:]) for e in got]
        assert len(set(ids)) == len(ids)
        assert set(ids) <= set(eligible)
        if got and got[0].arm == "profile":
            total = block.weights[part] @ state.vectors[block.rows[part]].astype(float)
            score = state.vectors.astype(float) @ (total / np.linalg.norm(total))
            best = sorted((-round(float(score[i]), 5), i) for i in eligible)[: len(got)]
            np.testing.assert_allclose([e.score for e in got], [-s for s, _ in best], atol=2e-5)


def test_equal_scores_are_ordered_by_item_id() -> None:
    state = snapshot(0, 6, [True] * 6)
    state.vectors[:] = state.vectors[0]
    table = pa.table({"user_id": ["u"], "item_id": ["i002"], "weight": [1.0], "seen": [True]})
    entries = lists_for(state, histories(table, state.ids), 4, "exact")
    assert [e.item_id for e in entries] == ["i000", "i001", "i003", "i004"]


def test_a_user_without_weight_gets_popular_items_and_is_told_so() -> None:
    state = snapshot(0, 5, [True, False, True, True, True])
    table = pa.table({"user_id": ["u"], "item_id": ["i000"], "weight": [0.0], "seen": [True]})
    entries = list(lists_for(state, histories(table, state.ids), 2, "exact"))
    assert [(e.item_id, e.arm) for e in entries] == [("i002", "popular"), ("i003", "popular")]
    assert "Popular" in entries[0].reason


def test_the_reason_names_the_item_that_pulls_most_and_what_is_shared() -> None:
    state = snapshot(0, 4, [True] * 4)
    state.vectors[:] = np.eye(6, dtype=np.float32)[[0, 1, 0, 1]]
    table = pa.table(
        {
            "user_id": ["u", "u"],
            "item_id": ["i000", "i001"],
            "weight": [1.0, 3.0],
            "seen": [True] * 2,
        }
    )
    entries = list(lists_for(state, histories(table, state.ids), 2, "exact"))
    assert [(e.item_id, e.because_item_id) for e in entries] == [("i003", "i001"), ("i002", "i000")]


def test_scann_finds_what_exact_search_finds(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors, queries = unit(rng, 3000, 32), unit(rng, 20, 32)
    build_index(vectors, tmp_path)
    found = ScannSearcher(tmp_path, 3000).nearest(queries, 20)
    exact = ExactSearcher(vectors).nearest(queries, 20)
    for ours, truth in zip(found, exact, strict=True):
        assert set(truth[:20].tolist()) <= set(ours.tolist())


def test_scanns_tree_reaches_its_recall_on_rows_with_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BRUTE_FORCE_BELOW", 1000)
    rng = np.random.default_rng(4)
    centres = unit(rng, 40, 64)
    vectors = centres[rng.integers(0, 40, 4000)] + 0.08 * rng.normal(size=(4000, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    queries = vectors[:100]
    build_index(vectors, tmp_path)
    found = ScannSearcher(tmp_path, 4000).nearest(queries, 20)
    exact = ExactSearcher(vectors).nearest(queries, 20)
    shared = [np.isin(b[:20], a).sum() for a, b in zip(found, exact, strict=True)]
    assert sum(shared) / (20 * len(queries)) > 0.99


def test_what_an_engine_leaves_out_is_made_up_from_all_eligible_items() -> None:
    state = snapshot(0, 6, [True, True, False, True, True, True])
    found = np.array([3, 0])  # positions among the available items: rows 4 and 0
    assert candidates(state, found, np.array([0]), 1).tolist() == [4]
    assert candidates(state, found, np.array([0]), 2).tolist() == [1, 3, 4, 5]


def test_the_reason_of_a_user_who_was_away_for_years_names_the_heaviest_item() -> None:
    state = snapshot(0, 4, [True] * 4)
    state.vectors[:] = np.eye(6, dtype=np.float32)[[0, 1, 0, 1]]
    table = pa.table(
        {
            "user_id": ["u", "u"],
            "item_id": ["i000", "i001"],
            "weight": [1e-12, 3e-12],
            "seen": [True] * 2,
        }
    )
    entries = list(lists_for(state, histories(table, state.ids), 2, "exact"))
    assert [(e.item_id, e.because_item_id, e.arm) for e in entries] == [
        ("i003", "i001", "profile"),
        ("i002", "i000", "profile"),
    ]


def test_scann_returns_every_row_of_a_small_matrix_once(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(2), 7, 8)
    build_index(vectors, tmp_path)
    found = ScannSearcher(tmp_path, 7).nearest(vectors[:2], 50)
    assert [sorted(rows.tolist()) for rows in found] == [list(range(7))] * 2


def test_a_snapshot_reads_back_what_was_written(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(3), 5, 4)
    folder = tmp_path / "snapshot-a"
    write_snapshot(folder, item_table(5, [True, False, True, True, False]), vectors, build_index)
    state = load_snapshot(str(folder))
    np.testing.assert_array_equal(state.vectors, vectors)
    assert state.ids.tolist() == ["i000", "i001", "i002", "i003", "i004"]
    assert state.available.tolist() == [0, 2, 3]
    assert state.words[4] == {"style": "s1"}
    assert state.popularity.tolist() == [0.0] * 5
    popular = np.array([3.0, 0, 1, 2, 4])
    assert write_popularity(folder, popular) == write_popularity(folder, popular)
    again = load_snapshot(str(folder), write_popularity(folder, popular))
    assert again.popularity.tolist() == popular.tolist()
    assert not list(tmp_path.glob(".partial-*"))


def test_a_vector_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    vectors = np.full((5, 4), np.nan, np.float32)
    with pytest.raises(SchemaError, match="not finite"):
        write_snapshot(tmp_path / "snapshot-b", item_table(5, [True] * 5), vectors, build_index)


def test_recall_counts_ties_as_hits_and_missing_users_as_misses() -> None:
    exact = {"a": [0.9, 0.5], "b": [0.8]}
    assert recall({"a": [0.9, 0.5], "b": [0.8]}, exact).mean == 1.0
    assert recall({"a": [0.9, 0.4]}, exact).mean == 0.25
    assert recall({}, {}).users == 0


def test_reasons_are_sentences() -> None:
    shared = shared_words({"style": "classic", "second_colour": "none"}, {"style": "classic"})
    assert profile_reason("Aria 12", shared) == "Like 'Aria 12', which you chose: classic."
    assert profile_reason("", []) == "It comes closest to an item, which you chose."
    assert similar_reason(shared) == "Both: classic."

"""Lists against an independent brute force, their reasons, and the files behind them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.topk_pieces import (
    block,
    by_user,
    history,
    item_table,
    random_history,
    snapshot,
    unit,
)
from vlm4rec_spark.embeddings.matrix import as_matrix
from vlm4rec_spark.errors import InvariantError, SchemaError
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.lists import ListSpec, block_lists, check
from vlm4rec_spark.topk.reasons import profile_reasons, similar_reasons
from vlm4rec_spark.topk.snapshot import Beside, Snapshot, load_snapshot
from vlm4rec_spark.topk.snapshot_files import is_whole, write_array, write_snapshot
from vlm4rec_spark.topk.words import shared_words

EXACT = EngineSpec("exact")
Row = dict[str, Any]


def lists(state: Snapshot, table: pa.Table, k: int) -> dict[str, list[Row]]:
    """Return the rows of each user's list."""
    return by_user(block_lists(state, block(state, table), ListSpec(EXACT, k)))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12), st.floats(0, 0.9))
def test_every_user_gets_min_k_eligible_items_that_are_the_best_by_brute_force(
    seed: int, n: int, k: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    available = [bool(rng.random() < 0.7) for _ in range(n)]
    state = snapshot(seed, n, available)
    table = random_history(rng, 5, n, share)
    made = lists(state, table, k)
    histories = block(state, table)
    for number, user in enumerate(histories.users):
        part = slice(histories.starts[number], histories.starts[number + 1])
        seen = set(histories.rows[part][histories.seen[part]].tolist())
        eligible = [i for i in range(n) if available[i] and i not in seen]
        got = made.get(user, [])
        assert [e["rank"] for e in got] == list(range(1, min(k, len(eligible)) + 1))
        ids = [int(str(e["item_id"])[1:]) for e in got]
        assert len(set(ids)) == len(ids)
        assert set(ids) <= set(eligible)
        if got and got[0]["arm"] == "profile":
            total = histories.weights[part] @ state.vectors[histories.rows[part]].astype(float)
            score = state.vectors.astype(float) @ (total / np.linalg.norm(total))
            best = sorted((-round(float(score[i]), 5), i) for i in eligible)[: len(got)]
            np.testing.assert_allclose([e["score"] for e in got], [-s for s, _ in best], atol=2e-5)


def test_a_list_is_the_same_whatever_users_stand_beside_it() -> None:
    state = snapshot(3, 60)
    table = random_history(np.random.default_rng(3), 9, 60, 0.2)
    together = lists(state, table, 10)
    for user, rows in together.items():
        alone = table.filter(pa.compute.equal(table["user_id"], user))
        assert lists(state, alone, 10)[user] == rows


def test_a_history_of_ten_thousand_items_leaves_what_is_left() -> None:
    state = snapshot(0, 10_005)
    seen = history(*(("u", f"i{i:03d}", 1.0, True) for i in range(10_000)))
    assert [r["item_id"] for r in lists(state, seen, 100)["u"]] != []
    assert {r["item_id"] for r in lists(state, seen, 100)["u"]} == {
        f"i{i:03d}" for i in range(10_000, 10_005)
    }


def test_equal_scores_are_ordered_by_item_id() -> None:
    state = snapshot(0, 6)
    state.vectors[:] = state.vectors[0]
    made = lists(state, history(("u", "i002", 1.0, True)), 4)["u"]
    assert [row["item_id"] for row in made] == ["i000", "i001", "i003", "i004"]


def test_a_user_without_weight_gets_popular_items_and_is_told_so() -> None:
    state = snapshot(0, 5, [True, False, True, True, True])
    made = lists(state, history(("u", "i000", 0.0, True)), 2)["u"]
    assert [(r["item_id"], r["arm"]) for r in made] == [("i002", "popular"), ("i003", "popular")]
    assert "Popular" in str(made[0]["reason"])
    assert made[0]["because_item_id"] is None


def test_a_user_without_weight_gets_what_is_popular_in_the_segment_first() -> None:
    state = replace(
        snapshot(0, 5), popularity=np.array([[5.0, 4, 3, 2, 1], [0, 0, 0, 1, 2], [0, 0, 9, 0, 0]])
    )
    table = history(*((user, None, 0.0, False) for user in ("a", "b", "c")))
    table = table.append_column("segment", pa.array(["x", "y", "nobody's"]))
    spec = ListSpec(EXACT, 3, segments=("x", "y"))
    made = block_lists(state, block(state, table), spec)
    assert {user: [row["item_id"] for row in rows] for user, rows in by_user(made).items()} == {
        "a": ["i004", "i003", "i000"],
        "b": ["i002", "i000", "i001"],
        "c": ["i000", "i001", "i002"],
    }


def test_items_with_quotes_and_emoji_in_their_ids_are_found_and_listed(tmp_path: Path) -> None:
    names = sorted(["o'br\"ien", "🛍️; DROP", "näme", "a b", "%_\\"])
    items = item_table(5).set_column(0, "item_id", pa.array(names))
    write_snapshot(tmp_path / "snapshot-a", items, unit(np.random.default_rng(3), 5, 4))
    state = load_snapshot(str(tmp_path / "snapshot-a"))
    assert sorted(state.ids.to_pylist()) == names
    rows = state.find(pa.array(names))
    assert state.ids.take(pa.array(rows)).to_pylist() == names
    made = lists(state, history(("u", names[2], 1.0, True)), 9)["u"]
    assert sorted(row["item_id"] for row in made) == [n for n in names if n != names[2]]
    assert {row["because_item_id"] for row in made} == {names[2]}


def test_ids_with_quotes_emoji_and_unknown_items_are_only_names() -> None:
    state = snapshot(0, 5)
    table = history(("o'br\"ien; 🛍️", "i000", 1.0, True), ("näme", "nobody knows", 1.0, True))
    made = lists(state, table, 9)
    assert len(made["o'br\"ien; 🛍️"]) == 4
    assert [r["arm"] for r in made["näme"]] == ["popular"] * 5


@pytest.mark.parametrize("weight", [1.0, 1e-12])
def test_the_reason_names_the_item_that_pulls_most_and_its_share(weight: float) -> None:
    state = snapshot(0, 4, vectors=np.eye(6, dtype=np.float32)[[0, 1, 0, 1]].copy())
    table = history(("u", "i000", weight, True), ("u", "i001", 3 * weight, True))
    made = lists(state, table, 2)["u"]
    named = [(r["item_id"], r["because_item_id"], r["because_share"]) for r in made]
    assert named == [("i003", "i001", 1.0), ("i002", "i000", 1.0)]


def test_a_broken_promise_is_noticed() -> None:
    masks = Masks.nothing(1, 4)
    check(np.array([[0, 1]]), 2, masks, masks.eligible())
    with pytest.raises(InvariantError, match="twice"):
        check(np.array([[1, 1]]), 2, masks, masks.eligible())
    with pytest.raises(InvariantError, match="shorter"):
        check(np.array([[1, -1]]), 2, masks, masks.eligible())
    seen = Masks(np.array([1]), np.array([0, 1]), masks.allowed, masks.group)
    with pytest.raises(InvariantError, match="seen"):
        check(np.array([[0, 1]]), 2, seen, seen.eligible())


def test_a_snapshot_reads_back_what_was_written(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(3), 5, 4)
    folder = tmp_path / "snapshot-a"
    write_snapshot(folder, item_table(5, [True, False, True, True, False]), vectors, "e@1")
    state = load_snapshot(str(folder))
    np.testing.assert_array_equal(state.vectors, vectors)
    assert state.ids.to_pylist() == ["i000", "i001", "i002", "i003", "i004"]
    assert state.allowed.tolist() == [[True, False, True, True, False]]
    assert state.words.of(4) == {"style": "s1"}
    assert state.codes("brand").tolist() == [0, 1, 2, 3, 0]
    assert state.find(pa.array(["i003", "no", None])).tolist() == [3, -1, -1]
    assert state.popularity.tolist() == [[0.0] * 5]
    assert "vectors.npy" in json.loads((folder / "meta.json").read_text())["sha256"]
    popular = np.array([[3.0, 0, 1, 2, 4]])
    name = write_array(folder, "popularity", popular)
    assert name == write_array(folder, "popularity", popular)
    assert (
        load_snapshot(str(folder), Beside(popularity=name)).popularity.tolist() == popular.tolist()
    )
    assert not list(tmp_path.glob(".partial-*"))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 3.0])
def test_a_vector_that_is_not_finite_or_not_of_length_1_is_refused_with_its_item(
    tmp_path: Path, value: float
) -> None:
    vectors = unit(np.random.default_rng(3), 5, 4)
    vectors[2] = value
    with pytest.raises(SchemaError, match=r"1 item vectors .*'i002'"):
        write_snapshot(tmp_path / "snapshot-b", item_table(5), vectors)
    assert not (tmp_path / "snapshot-b").exists()


@pytest.mark.parametrize("odd", [[[1.0] * 3, [1.0] * 5], [None], [[]], [[None] * 4]])
def test_vectors_of_another_length_never_become_those_of_other_items(
    odd: list[list[float | None] | None],
) -> None:
    column: list[list[float | None] | None] = [[1.0, 0.0, 0.0, 0.0], *odd, [0.0, 1.0, 0.0, 0.0]]
    column += [[0.0, 0.0, 1.0, 0.0]] * 2
    ids = pa.chunked_array([[f"i{number}" for number in range(len(column))]])
    vectors = pa.chunked_array([column[:2], column[2:]], pa.list_(pa.float32()))
    if odd == [[None] * 4]:
        assert np.isnan(as_matrix(ids, vectors)[1]).all()
        return
    with pytest.raises(SchemaError, match=rf"{len(odd)} of {len(column)} item vectors .*'i1'"):
        as_matrix(ids, vectors)


def test_a_file_of_a_snapshot_that_changed_or_is_gone_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "snapshot-a"
    write_snapshot(folder, item_table(5), unit(np.random.default_rng(3), 5, 4), with_scann=True)
    assert is_whole(folder)
    assert not is_whole(tmp_path / "snapshot-b")
    for path in (folder / "vectors.npy", *sorted((folder / "index").iterdir())):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert not is_whole(folder), path
        path.unlink()
        assert not is_whole(folder), path
        path.write_bytes(content)
    assert is_whole(folder)


def test_words_that_say_nothing_or_stand_twice_are_not_named() -> None:
    left = {"style": "classic", "second_colour": "none", "colour": "red", "trim": "red"}
    assert shared_words(left, dict(left)) == ["classic", "red"]
    assert shared_words(left, {}) == []


def test_reasons_are_sentences() -> None:
    shared = pa.array([["classic"], [], ["linen", "boho"]], pa.list_(pa.string()))
    assert profile_reasons(pa.array(["Aria  12", "", "x" * 90]), shared).to_pylist() == [
        "Like 'Aria 12', which you chose: classic.",
        "It comes closest to an item, which you chose.",
        f"Like '{'x' * 79}…', which you chose: linen, boho.",
    ]
    assert similar_reasons(shared).to_pylist()[:2] == [
        "Both: classic.",
        "The descriptions are alike.",
    ]

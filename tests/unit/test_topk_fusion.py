"""Late fusion against brute force over every liked item and every candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.topk_pieces import fused_lists as lists
from tests.unit.topk_pieces import history, random_history, snapshot
from vlm4rec_spark.config_models import ProfilesConfig
from vlm4rec_spark.profiles.vectors import MEAN, Fusion, fusion_of
from vlm4rec_spark.topk import late_fusion
from vlm4rec_spark.topk.rerank import Rerank

if TYPE_CHECKING:
    from vlm4rec_spark.topk.snapshot import Snapshot

Row = dict[str, Any]
MAX, SOFT = Fusion("max"), Fusion("softmax", 10.0)


def plainly(state: Snapshot, table: pa.Table, user: str, fusion: Fusion) -> npt.NDArray[np.float64]:
    """Return the score of every item for a user."""
    liked = [r for r in table.to_pylist() if r["user_id"] == user and r["weight"] > 0]
    rows = state.find(pa.array([r["item_id"] for r in liked], pa.string()))
    weights = np.array([r["weight"] for r in liked])
    cosine = state.vectors.astype(float) @ state.vectors[rows].astype(float).T
    if fusion.kind == "max":
        return np.asarray(cosine.max(1))
    pull = weights * np.exp(fusion.sharpness * cosine)
    return np.asarray((pull * cosine).sum(1) / pull.sum(1))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 30), st.sampled_from([MAX, SOFT]))
def test_lists_are_the_best_by_the_fused_score_of_every_liked_item(
    seed: int, n: int, fusion: Fusion
) -> None:
    state = snapshot(seed, n)
    table = random_history(np.random.default_rng(seed), 5, n, 0.3)
    seen = {(r["user_id"], r["item_id"]) for r in table.to_pylist() if r["seen"]}
    for user, rows in lists(state, table, fusion).items():
        if rows[0]["arm"] != "profile":
            continue
        scores = plainly(state, table, user, fusion)
        may = [i for i in range(n) if (user, f"i{i:03d}") not in seen]
        best = np.sort(scores[may])[::-1][:10]
        np.testing.assert_allclose([r["score"] for r in rows], best, atol=3e-6)
        own = [scores[int(r["item_id"][1:])] for r in rows]
        np.testing.assert_allclose([r["score"] for r in rows], own, atol=3e-6)


@pytest.mark.parametrize("fusion", [MAX, SOFT])
def test_a_list_is_the_same_whoever_is_searched_for_together(
    fusion: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = snapshot(3, 60)
    table = random_history(np.random.default_rng(3), 9, 60, 0.2)
    together = lists(state, table, fusion)
    monkeypatch.setattr(late_fusion, "SEARCHES_AT_ONCE", 5)
    assert lists(state, table, fusion) == together
    alone = table.filter(pa.compute.equal(table["user_id"], "u4"))
    assert lists(state, alone, fusion)["u4"] == together["u4"]
    capped = lists(state, table, fusion, rerank=Rerank(caps=(("brand", 3),)))
    for rows in capped.values():
        brands = [int(r["item_id"][1:]) % 4 for r in rows]
        assert max(np.bincount(brands)) <= 3
        assert len(rows) == 10


def test_softmax_runs_from_the_order_of_the_mean_to_the_maximum() -> None:
    state = snapshot(1, 40)
    table = random_history(np.random.default_rng(1), 4, 40, 0.3)
    mean, most = lists(state, table, MEAN), lists(state, table, MAX)
    flat, sharp = (lists(state, table, Fusion("softmax", s)) for s in (1e-4, 5000.0))
    for user in mean:
        assert [r["item_id"] for r in flat[user]][:5] == [r["item_id"] for r in mean[user]][:5]
        np.testing.assert_allclose(
            [r["score"] for r in sharp[user]], [r["score"] for r in most[user]], atol=5e-3
        )


def test_the_reason_is_the_nearest_liked_item_by_max_and_all_of_them_by_softmax() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6], [0.6, -0.8]], np.float32)
    state = snapshot(0, 4, vectors=vectors)
    table = history(("u", "i000", 1.0, True), ("u", "i001", 3.0, True))
    (first, second) = lists(state, table, MAX)["u"]
    assert (first["item_id"], first["score"]) == ("i002", 0.8)
    assert first["history_shares"] == [{"item_id": "i000", "share": 1.0}]
    assert (second["item_id"], second["because_item_id"]) == ("i003", "i000")
    soft = lists(state, table, Fusion("softmax", 1.0))["u"][0]
    pull = np.array([1 * np.exp(0.8) * 0.8, 3 * np.exp(0.6) * 0.6])
    assert [part["item_id"] for part in soft["history_shares"]] == ["i001", "i000"]
    shares = [part["share"] for part in soft["history_shares"]]
    np.testing.assert_allclose(shares, np.sort(pull / pull.sum())[::-1], atol=1e-3)


def test_the_temperature_is_of_softmax_alone_and_interests_do_not_go_with_late_fusion() -> None:
    assert fusion_of(ProfilesConfig()) == MEAN
    assert fusion_of(ProfilesConfig(fusion="max", temperature=0.5)) == MAX
    assert fusion_of(ProfilesConfig(fusion="softmax")) == SOFT
    with pytest.raises(ValueError, match="fusion max needs no interests"):
        ProfilesConfig(fusion="max", interests=2)

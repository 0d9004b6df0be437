"""What a user does not want, in late fusion, against brute force written from the definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.topk_pieces import block, history, random_history, snapshot, unit
from tests.unit.topk_pieces import fused_lists as lists
from vlm4rec_spark.profiles.dislikes import turned_away
from vlm4rec_spark.profiles.vectors import Fusion, query_profiles
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.late_fusion import FusedCandidates
from vlm4rec_spark.topk.lists import ListSpec, seen_masks
from vlm4rec_spark.topk.tuning import audit

if TYPE_CHECKING:
    from vlm4rec_spark.topk.snapshot import Snapshot

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]
MAX, SOFT = Fusion("max"), Fusion("softmax", 10.0)
K = 10


def with_returns(seed: int, n: int) -> pa.Table:
    """Return a random history in which about a third of all weights is negative."""
    rng = np.random.default_rng(seed)
    table = random_history(rng, 5, n, 0.3)
    weights = table["weight"].to_numpy() * rng.choice([1.0, 1.0, -1.5], len(table))
    return table.set_column(2, "weight", pa.array(weights))


def turned_plainly(state: Snapshot, table: pa.Table, user: str) -> tuple[Floats, Floats]:
    """Return what each liked item is compared as, and its weight, from the equations."""
    rows = [r for r in table.to_pylist() if r["user_id"] == user]
    weights = np.array([r["weight"] for r in rows])
    vectors = state.vectors.astype(float)[[int((r["item_id"] or "i0")[1:]) for r in rows]]
    system = np.eye(vectors.shape[1])
    for vector, weight in zip(vectors, weights, strict=True):
        if weight < 0:
            system += -weight / weights.max() * np.outer(vector, vector)
    return np.linalg.solve(system, vectors[weights > 0].T).T, weights[weights > 0]


def plainly(state: Snapshot, table: pa.Table, user: str, fusion: Fusion) -> Floats:
    """Return the score of every item for a user."""
    turned, weights = turned_plainly(state, table, user)
    product = state.vectors.astype(float) @ turned.T
    if fusion.kind == "max":
        return np.asarray(product.max(1))
    pull = weights * np.exp(fusion.sharpness * product)
    return np.asarray((pull * product).sum(1) / pull.sum(1))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 30), st.sampled_from([MAX, SOFT]))
def test_lists_are_the_best_by_what_is_left_of_every_liked_item(
    seed: int, n: int, fusion: Fusion
) -> None:
    state, table = snapshot(seed, n), with_returns(seed, n)
    seen = {(r["user_id"], r["item_id"]) for r in table.to_pylist() if r["seen"]}
    for user, rows in lists(state, table, fusion).items():
        if rows[0]["arm"] != "profile":
            continue
        scores = plainly(state, table, user, fusion)
        may = [i for i in range(n) if (user, f"i{i:03d}") not in seen]
        best = np.sort(scores[may])[::-1][:K]
        np.testing.assert_allclose([r["score"] for r in rows], best, atol=3e-6)
        own = [scores[int(r["item_id"][1:])] for r in rows]
        np.testing.assert_allclose([r["score"] for r in rows], own, atol=3e-6)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
def test_a_liked_item_becomes_the_nearest_vector_that_pays_least_for_what_is_unwanted(
    seed: int, likes: int, dislikes: int
) -> None:
    rng = np.random.default_rng(seed)
    liked, unwanted = unit(rng, likes, 5), unit(rng, dislikes, 5)
    weights = rng.uniform(0, 3, dislikes)

    def cost(vectors: Floats) -> Floats:
        away, paid = ((vectors - liked) ** 2).sum(1), (vectors @ unwanted.T) ** 2 @ weights
        return np.asarray(away + paid)

    found = turned_away(liked, unwanted, weights).astype(float)
    for _ in range(20):
        assert (cost(found) <= cost(found + 0.01 * rng.normal(size=found.shape)) + 1e-9).all()
    assert (np.linalg.norm(found, axis=1) <= np.linalg.norm(liked, axis=1) + 1e-6).all()


def test_a_return_as_heavy_as_a_purchase_halves_likeness_and_leaves_what_is_unlike_alone() -> None:
    vectors = np.array(
        [[1, 0, 0], [0, 1, 0], [0.8, 0, 0.6], [0, 0.8, 0.6], [0.6, 0.8, 0]], np.float32
    )
    state = snapshot(0, 5, vectors=vectors)
    kept = [("u", "i000", 4.0, True), ("u", "i001", 2.0, True)]
    before = {r["item_id"]: r["score"] for r in lists(state, history(*kept), MAX)["u"]}
    returned = history(*kept, ("u", "i002", -4.0, False))
    after = {r["item_id"]: r["score"] for r in lists(state, returned, MAX)["u"]}
    assert before == {"i002": 0.8, "i003": 0.8, "i004": 0.8}
    assert after["i002"] == pytest.approx(0.4)
    assert after["i004"] == pytest.approx(0.8)
    assert list(before) == ["i002", "i003", "i004"]
    assert list(after) == ["i003", "i004", "i002"]


def test_only_the_proportion_of_weights_counts_and_who_likes_nothing_has_no_profile() -> None:
    state = snapshot(2, 30)
    rows = [("u", "i001", 3.0, True), ("u", "i002", 1.0, True), ("u", "i003", -2.0, True)]
    long_ago = [(user, item, weight * 2.0**-900, seen) for user, item, weight, seen in rows]
    assert lists(state, history(*rows), SOFT) == lists(state, history(*long_ago), SOFT)
    (only_returns,) = lists(state, history(("u", "i003", -2.0, True)), MAX).values()
    assert {row["arm"] for row in only_returns} == {"popular"}


@pytest.mark.parametrize("fusion", [MAX, SOFT])
def test_a_list_is_the_same_whoever_else_is_in_the_block(fusion: Fusion) -> None:
    state, table = snapshot(3, 60), with_returns(3, 60)
    together = lists(state, table, fusion)
    for user, rows in together.items():
        alone = table.filter(pa.compute.equal(table["user_id"], user))
        assert lists(state, alone, fusion)[user] == rows


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_every_listed_item_comes_up_to_the_floor_and_exact_search_passes_the_audit(
    seed: int,
) -> None:
    state, table = snapshot(seed, 80), with_returns(seed, 80)
    made = block(state, table)
    profiles = query_profiles(state.vectors, made, fusion=MAX)
    near = FusedCandidates(state, ExactEngine(state.vectors), profiles, MAX)
    masks = seen_masks(state, made).of(profiles.known)
    found = near.best(np.arange(len(profiles.known)), K, masks)
    assert found.floor is not None
    for line, rows in enumerate(found.rows):
        mine = profiles.vectors[profiles.starts[line] : profiles.starts[line + 1]]
        listed = state.vectors[rows[rows >= 0]] @ mine.T
        assert (listed.max(1) >= found.floor[line] - 3e-6).all()
    assert audit(state, table, ListSpec(EngineSpec("exact"), K, fusion=MAX)).mean == 1.0


def test_shares_of_the_history_are_those_of_what_is_left_of_each_liked_item() -> None:
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0.8, 0, 0.6]], np.float32)
    state = snapshot(0, 4, vectors=vectors)
    table = history(
        ("u", "i000", 2.0, True), ("u", "i001", 1.0, True), ("u", "i003", -2.0, True)
    )  # fmt: skip
    (row,) = lists(state, table, Fusion("softmax", 2.0))["u"]
    turned, weights = turned_plainly(state, table, "u")
    product = turned @ vectors[2].astype(float)
    pull = weights * np.exp(2.0 * product) * product
    shares = {part["item_id"]: part["share"] for part in row["history_shares"]}
    assert shares == pytest.approx(
        dict(zip(("i000", "i001"), pull / pull.sum(), strict=True)), abs=1e-3
    )
    (nearest,) = lists(state, table, MAX)["u"]
    assert nearest["history_shares"] == [{"item_id": "i001", "share": 1.0}]
    without = history(("u", "i000", 2.0, True), ("u", "i001", 1.0, True), ("u", "i003", 0.0, True))
    (kept,) = lists(state, without, Fusion("softmax", 2.0))["u"]
    assert {p["item_id"]: p["share"] for p in kept["history_shares"]}["i000"] > shares["i000"]

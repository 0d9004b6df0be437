"""What a merchandiser asks of a list, held by properties."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.topk_pieces import block, history, random_history, snapshot, unit
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.lists import ListSpec, block_lists
from vlm4rec_spark.topk.rerank import Rerank

if TYPE_CHECKING:
    from vlm4rec_spark.topk.snapshot import Snapshot

EXACT = EngineSpec("exact")


def listed(state: Snapshot, table: pa.Table, k: int, rerank: Rerank) -> dict[str, list[int]]:
    """Return the rows in each user's list, in order."""
    users: dict[str, list[int]] = {}
    made = block_lists(state, block(state, table), ListSpec(EXACT, k, rerank))
    for row in made.sort_by([("user_id", "ascending"), ("rank", "ascending")]).to_pylist():
        users.setdefault(row["user_id"], []).append(int(row["item_id"][1:]))
    return users


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 15), st.integers(1, 5))
def test_caps_hold_and_a_list_is_short_only_when_every_brand_is_used_up(
    seed: int, n: int, k: int, cap: int
) -> None:
    rng = np.random.default_rng(seed)
    state = snapshot(seed, n, [bool(rng.random() < 0.8) for _ in range(n)])
    table = random_history(rng, 4, n, 0.2)
    histories = block(state, table)
    made = listed(state, table, k, Rerank(caps=(("brand", cap),)))
    for number, user in enumerate(histories.users):
        part = slice(histories.starts[number], histories.starts[number + 1])
        seen = set(histories.rows[part][histories.seen[part]].tolist())
        eligible = [i for i in np.flatnonzero(state.allowed[0]).tolist() if i not in seen]
        brands = np.bincount([i % 4 for i in eligible], minlength=4)
        got = made.get(user, [])
        assert set(got) <= set(eligible)
        assert len(set(got)) == len(got) == min(k, int(np.minimum(brands, cap).sum()))
        assert np.bincount([i % 4 for i in got], minlength=4).max(initial=0) <= cap


def test_items_with_nearly_one_vector_stand_in_a_list_once() -> None:
    rows = unit(np.random.default_rng(1), 12, 6)
    rows[6:] = rows[:6]
    state = snapshot(0, 12, vectors=rows)
    made = listed(state, history(("u", "i000", 1.0, True)), 12, Rerank(near_equal=0.999))["u"]
    assert len({i % 6 for i in made}) == len(made) == 6


def test_relevance_one_changes_nothing_and_less_of_it_spreads_a_list() -> None:
    rng = np.random.default_rng(2)
    state, table = snapshot(2, 80), random_history(rng, 5, 80, 0.1)
    plain = listed(state, table, 8, Rerank())
    assert listed(state, table, 8, Rerank(near_equal=1.0)) == plain

    def likeness(lists: dict[str, list[int]]) -> float:
        alike = [state.vectors[i] @ state.vectors[i].T for i in lists.values()]
        return float(np.mean([(a.sum() - len(a)) / (len(a) * (len(a) - 1)) for a in alike]))

    spread = listed(state, table, 8, Rerank(relevance=0.5))
    assert {u: x[0] for u, x in spread.items()} == {u: x[0] for u, x in plain.items()}
    assert likeness(spread) < likeness(plain) - 0.05


def test_maximal_marginal_relevance_is_that_of_its_definition() -> None:
    state = snapshot(5, 30)
    table = history(("u", "i000", 1.0, True), ("u", "i007", 2.0, True))
    total = state.vectors[0].astype(float) + 2 * state.vectors[7].astype(float)
    score = state.vectors.astype(float) @ (total / np.linalg.norm(total))
    left = [i for i in range(30) if i not in {0, 7}]
    chosen: list[int] = []
    while len(chosen) < 6:
        worth = {
            i: 0.7 * score[i]
            - 0.3 * max((float(state.vectors[i] @ state.vectors[j]) for j in chosen), default=-1)
            for i in left
        }
        best = max(worth, key=lambda i: worth[i])
        chosen.append(best)
        left.remove(best)
    assert listed(state, table, 6, Rerank(relevance=0.7))["u"] == chosen


def test_a_reranked_list_is_the_same_whatever_users_stand_beside_it() -> None:
    state = replace(snapshot(6, 60), business=np.random.default_rng(6).random(60))
    popular = np.append(np.full(5, 900.0), np.arange(55, 0, -1) / 50)[None, :]
    state = replace(state, popularity=popular)
    rows = [("star", None, 0.0, False), *((f"fan{i}", f"i{i:03d}", 1.0, True) for i in range(3))]
    rows += [("late", f"i{i:03d}", 0.0, True) for i in range(5)]  # has seen what is popular
    table, rerank = history(*rows), Rerank(business_weight=0.5, relevance=0.8)
    together = listed(state, table, 10, rerank)
    for user, chosen in together.items():
        alone = table.filter(pa.compute.equal(table["user_id"], user))
        assert listed(state, alone, 10, rerank)[user] == chosen


def test_promotions_take_their_share_of_the_places_spread_over_the_list() -> None:
    state = snapshot(3, 60)
    promoted = np.arange(60)[None, :] >= 50
    state = replace(state, promoted=promoted)
    made = listed(state, random_history(np.random.default_rng(3), 4, 50, 0.1), 10,
                  Rerank(shares=(0.2,)))  # fmt: skip
    for rows in made.values():
        assert len(set(rows)) == 10
        assert rows[4] >= 50
        assert rows[9] >= 50


def test_places_of_a_promotion_nobody_meets_are_filled_by_others() -> None:
    state = replace(snapshot(3, 20), promoted=np.zeros((1, 20), bool))
    table = history(("u", "i000", 1.0, True))
    assert listed(state, table, 8, Rerank(shares=(0.5,))) == listed(state, table, 8, Rerank())


def test_a_pinned_item_has_its_rank_unless_the_user_has_seen_it() -> None:
    state = snapshot(4, 20)
    table = history(("a", "i000", 1.0, True), ("b", "i009", 1.0, True), ("c", None, 0.0, False))
    made = listed(state, table, 5, Rerank(pins=(("i009", 2), ("nobody", 1))))
    assert made["a"][1] == 9
    assert made["c"][1] == 9
    assert 9 not in made["b"]
    assert [len(set(rows)) for rows in made.values()] == [5, 5, 5]


def test_business_value_decides_as_much_as_its_weight_says() -> None:
    state = replace(snapshot(6, 20), business=np.arange(20) / 19)
    table = history(("u", "i000", 1.0, True))
    whole = listed(state, table, 4, Rerank(business_weight=1.0))["u"]
    pool = listed(state, table, 12, Rerank())["u"]
    assert whole == sorted(pool, reverse=True)[:4]
    assert listed(state, table, 4, Rerank(business_weight=1e-9))["u"] == pool[:4]


@pytest.mark.parametrize(("shares", "places"), [((0.1, 0.2), 3), ((1.0,), 10), ((0.04,), 0)])
def test_slots_are_as_many_as_the_shares_say(shares: tuple[float, ...], places: int) -> None:
    assert (Rerank(shares=shares).slots(10) >= 0).sum() == places

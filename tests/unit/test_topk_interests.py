"""Lists of users with several interests: places in proportion, and the promises of every list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.topk_pieces import block, by_user, history, random_history, snapshot
from vlm4rec_spark.profiles.vectors import user_profiles
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.kernels import take_turns
from vlm4rec_spark.topk.lists import ListSpec, block_lists
from vlm4rec_spark.topk.rerank import PLAIN, Rerank

if TYPE_CHECKING:
    import pyarrow as pa

    from vlm4rec_spark.topk.snapshot import Snapshot

NEVER_REACHED = Rerank(caps=(("brand", 1000),))
"""Goes through the re-ranking, and asks for nothing."""


def lists(
    state: Snapshot, table: pa.Table, k: int, interests: int, rerank: Rerank = PLAIN
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each user's list."""
    spec = ListSpec(EngineSpec("exact"), k, rerank, interests=interests)
    return by_user(block_lists(state, block(state, table), spec))


@settings(max_examples=40)
@given(
    st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12), st.integers(2, 4),
    st.floats(0, 0.9),
)  # fmt: skip
def test_every_user_gets_min_k_eligible_items_each_scored_by_the_nearest_interest(
    seed: int, n: int, k: int, interests: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    state = snapshot(seed, n, [bool(rng.random() < 0.7) for _ in range(n)])
    table = random_history(rng, 4, n, share)
    made = lists(state, table, k, interests)
    histories = block(state, table)
    profiles = user_profiles(state.vectors, histories, interests)
    for number, user in enumerate(histories.users):
        part = histories.of(number)
        seen = set(histories.rows[part][histories.seen[part]].tolist())
        eligible = [i for i in np.flatnonzero(state.allowed[0]).tolist() if i not in seen]
        got = made.get(user, [])
        ids = [int(row["item_id"][1:]) for row in got]
        assert [row["rank"] for row in got] == list(range(1, min(k, len(eligible)) + 1))
        assert len(set(ids)) == len(ids)
        assert set(ids) <= set(eligible)
        mine = profiles.vectors[profiles.owner == number]
        if len(mine):
            best = (state.vectors[ids].astype(float) @ mine.T.astype(float)).max(1)
            np.testing.assert_allclose([row["score"] for row in got], best, atol=2e-6)
    again = lists(state, table, k, interests, NEVER_REACHED)
    assert {u: [r["item_id"] for r in rows] for u, rows in again.items()} == {
        u: [r["item_id"] for r in rows] for u, rows in made.items()
    }


@settings(max_examples=60)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5), st.integers(1, 30))
def test_places_follow_the_weights_at_every_length_of_the_list(
    weights: list[float], k: int
) -> None:
    count = len(weights)
    found = np.arange(count * k).reshape(count, k)  # nobody's list meets another's
    out = np.full((1, k), -1, np.int64)
    take_turns(found, np.array([0, count]), np.array(weights), out)
    shares = np.array(weights) / sum(weights)
    for length in range(1, k + 1):
        places = np.bincount(out[0, :length] // k, minlength=count)
        assert places.sum() == length
        # Highest averages: no place would serve another interest better.
        assert (weights / (2 * places + 1)).max() <= (
            (weights / (2 * places - 1.0))[places > 0].min() + 1e-9
        )
    assert (np.abs(places - shares * k) <= 1 + count / 2).all()


def test_an_item_that_two_interests_want_takes_one_place_and_no_place_stays_empty() -> None:
    found = np.array([[0, 1, 2], [0, 1, 3]])
    out = np.full((1, 3), -1, np.int64)
    take_turns(found, np.array([0, 2]), np.array([1.0, 1.0]), out)
    assert out.tolist() == [[0, 1, 2]]


def test_the_reason_names_an_item_of_the_interest_that_brought_the_item_in() -> None:
    state = snapshot(0, 6, vectors=np.eye(6, dtype=np.float32)[[0, 1, 0, 1, 0, 1]].copy())
    table = history(("u", "i000", 1.0, True), ("u", "i001", 3.0, True))
    made = lists(state, table, 4, 2)["u"]
    told = [(r["item_id"], r["score"], r["because_item_id"], r["because_share"]) for r in made]
    assert told == [
        ("i003", 1.0, "i001", 1.0),
        ("i005", 1.0, "i001", 1.0),
        ("i002", 1.0, "i000", 1.0),
        ("i004", 1.0, "i000", 1.0),
    ]

"""Profiles: the maths of a history."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.unit.topk_pieces import block, history, random_history, snapshot
from vlm4rec_spark.profiles.vectors import Histories, histories, user_profiles

SIZES = st.integers(1, 6)


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1."""
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled.astype(np.float32)


def profile(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """Return the profile of one user who has every item; None where there is none."""
    n = len(vectors)
    one = Histories(["user"], np.array([0, n]), np.arange(n), weights, np.ones(n, bool))
    found = user_profiles(np.ascontiguousarray(vectors), one).vectors
    return found[0] if len(found) else None


@given(st.integers(0, 10_000), SIZES, SIZES)
def test_a_profile_has_length_one_and_leans_to_the_heaviest_item(seed: int, n: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(n, d + 1)))
    weights = rng.uniform(0.1, 1, n)
    weights[0] = 100 * n
    found = profile(vectors, weights)
    assert found is not None
    assert abs(float(np.linalg.norm(found)) - 1) < 1e-6
    assert int((vectors @ found).argmax()) == 0 or float((vectors @ found)[0]) > 0.99


@given(
    arrays(np.float64, 4, elements=st.floats(0.01, 10)),
    st.one_of(st.floats(0.1, 50), st.sampled_from([1e-12, 2.0**-900])),
)
def test_the_scale_of_the_weights_does_not_matter(weights: np.ndarray, factor: float) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(4, 5)))
    first, second = profile(vectors, weights), profile(vectors, weights * factor)
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_history_that_cancels_out_or_weighs_nothing_gives_no_profile() -> None:
    vectors = np.array([[1, 0], [-1, 0]], np.float32)
    assert profile(vectors, np.ones(2)) is None
    assert profile(vectors, np.zeros(2)) is None
    assert profile(vectors[:0], np.zeros(0)) is None


def test_rows_are_grouped_by_user_in_any_order_and_unknown_items_leave_their_user() -> None:
    table = pa.table(
        {
            "user_id": ["b", "a", "b", "c", "d"],
            "item_id": ["y", "x", "x", "gone", None],
            "weight": [1.0, 2.0, 3.0, 4.0, 0.0],
            "seen": [True, True, False, True, False],
        }
    )
    block = histories(table, np.array([2, 1, 1, -1, -1]))
    assert block.users == ["a", "b", "c", "d"]
    assert block.starts.tolist() == [0, 1, 3, 3, 3]
    assert block.rows.tolist() == [1, 1, 2]
    assert block.weights.tolist() == [2.0, 3.0, 1.0]
    assert block.seen.tolist() == [True, False, True]
    assert block.relative().tolist() == [1.0, 1.0, 1 / 3]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0, 0.6))
def test_interests_share_a_users_weight_whatever_users_stand_beside_them(
    seed: int, interests: int, share: float
) -> None:
    state = snapshot(seed, 20)
    table = random_history(np.random.default_rng(seed), 4, 20, share)
    whole = block(state, table)
    made = user_profiles(state.vectors, whole, interests)
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-6)
    for number, user in enumerate(whole.users):
        mine = made.owner == number
        weights = whole.weights[whole.of(number)]
        assert mine.sum() <= min(interests, int((weights > 0).sum()))
        assert made.weights[mine].sum() == np.sum(weights)
        assert (np.diff(made.weights[mine]) <= 0).all()
        labels = made.labels[whole.of(number)][weights > 0]
        assert set(labels.tolist()) == set(range(int(mine.sum())))
        by_label = np.bincount(labels, weights=weights[weights > 0], minlength=int(mine.sum()))
        np.testing.assert_allclose(by_label, made.weights[mine])
        rest = table.filter(pa.compute.equal(table["user_id"], user))
        alone = user_profiles(state.vectors, block(state, rest), interests)
        np.testing.assert_array_equal(alone.vectors, made.vectors[mine])


def test_what_a_user_looks_for_in_two_places_makes_two_interests_and_the_mean_is_neither() -> None:
    state = snapshot(0, 6, vectors=np.repeat(np.eye(2, 6, dtype=np.float32), 3, axis=0))
    table = history(
        ("u", "i000", 1.0, True), ("u", "i001", 1.0, True), ("u", "i003", 3.0, True)
    )  # fmt: skip
    made = user_profiles(state.vectors, block(state, table), 5)
    assert made.vectors.tolist() == [state.vectors[3].tolist(), state.vectors[0].tolist()]
    assert made.weights.tolist() == [3.0, 2.0]
    assert made.labels.tolist() == [1, 1, 0]
    assert len(user_profiles(state.vectors, block(state, table)).vectors) == 1


def test_a_negative_event_pulls_the_profile_away_from_its_item() -> None:
    vectors = unit(np.array([[1.0, 0.0, 0.2], [0.0, 1.0, 0.2]]))
    liked = profile(vectors, np.array([1.0, 0.0]))
    returned = profile(vectors, np.array([1.0, -0.5]))
    assert liked is not None
    assert returned is not None
    assert returned @ vectors[1] < liked @ vectors[1]
    wanted = vectors[0].astype(float) - 0.5 * vectors[1].astype(float)
    np.testing.assert_allclose(returned, wanted / np.linalg.norm(wanted), atol=1e-6)


def test_who_only_sends_back_or_mostly_what_they_liked_has_no_profile() -> None:
    vectors = unit(np.array([[1.0, 0.1], [1.0, 0.0]]))
    assert profile(vectors, np.array([-1.0, 0.0])) is None
    assert profile(vectors, np.array([1.0, -5.0])) is None
    assert profile(vectors, np.array([1.0, -0.1])) is not None


def test_a_negative_event_touches_the_interest_it_is_nearest_to() -> None:
    axes = np.eye(4, 6)
    axes[2] = axes[1] + axes[2]
    state = snapshot(0, 4, vectors=unit(axes))
    rows = [("u", "i000", 2.0, True), ("u", "i001", 1.0, True), ("u", "i002", -0.5, True)]
    made = user_profiles(state.vectors, block(state, history(*rows)), 2)
    assert made.vectors[0].tolist() == state.vectors[0].tolist()
    assert made.vectors[1] @ state.vectors[2] < state.vectors[1] @ state.vectors[2]
    assert made.labels.tolist() == [0, 1, 1]


@given(st.integers(0, 10_000))
def test_no_bit_of_a_weight_depends_on_where_the_matrix_has_the_items(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, weights = unit(rng.normal(size=(20, 4))), rng.uniform(0.1, 9, 20)
    moved = rng.permutation(20)
    one = Histories(["user"], np.array([0, 20]), np.arange(20), weights, np.ones(20, bool))
    other = Histories(["user"], np.array([0, 20]), np.arange(20), weights[moved], one.seen)
    here = user_profiles(vectors, one)
    there = user_profiles(np.ascontiguousarray(vectors[moved]), other)
    assert here.weights.tobytes() == there.weights.tobytes()
    np.testing.assert_allclose(here.vectors, there.vectors, atol=1e-6)

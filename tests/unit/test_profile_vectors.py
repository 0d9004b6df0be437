"""Profiles: the maths of a history."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vlm4rec_spark.profiles.vectors import histories, profile

SIZES = st.integers(1, 6)


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1."""
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled.astype(np.float32)


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

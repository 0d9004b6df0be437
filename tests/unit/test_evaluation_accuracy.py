"""Accuracy metrics: by hand, by property, and against libraries that others wrote."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, Success, nDCG

from tests.golden.check_data import ITEMS, USERS, K, check_data
from vlm4rec_spark.evaluation.accuracy import Floats, Lists, Truth, accuracy, hits

GOLDEN = Path(__file__).parents[1] / "golden"
RANKED = list[tuple[int, int, int]]
PAIRS = list[tuple[int, int]]


def scores(lists: RANKED, test: PAIRS, k: int, users: int, items: int) -> dict[str, Floats]:
    """Return the metrics of every user."""
    user, item, rank = (np.array(column, np.int64) for column in zip(*lists, strict=True))
    truth = Truth(*(np.array(column, np.int64) for column in zip(*test, strict=True)))
    ordered = Lists.ordered(user, rank, item, k)
    relevant = np.bincount(truth.user, minlength=users)
    return accuracy(ordered, hits(ordered, truth, items), relevant, k)


def of_tested(values: Floats, test: PAIRS) -> float:
    return float(values[sorted({user for user, _ in test})].mean())


def test_two_hits_at_ranks_one_and_three_are_scored_as_by_hand() -> None:
    found = scores([(0, 5, 1), (0, 6, 2), (0, 7, 3)], [(0, 5), (0, 7), (0, 9)], 3, 1, 10)
    assert found["NDCG"][0] == pytest.approx((1 + 0.5) / (1 + 1 / np.log2(3) + 0.5))
    assert found["MAP"][0] == pytest.approx((1 + 2 / 3) / 3)
    assert found["Recall"][0] == pytest.approx(2 / 3)
    assert found["Precision"][0] == pytest.approx(2 / 3)
    assert (found["HitRate"][0], found["MRR"][0]) == (1.0, 1.0)


def test_a_user_without_a_list_counts_as_zero() -> None:
    found = scores([(0, 1, 1)], [(0, 1), (1, 2)], 5, 2, 3)
    assert all(values[1] == 0.0 for values in found.values())
    assert found["NDCG"].mean() == 0.5


def test_places_beyond_k_do_not_count() -> None:
    found = scores([(0, 1, 1), (0, 2, 2)], [(0, 2)], 1, 1, 3)
    assert found["HitRate"][0] == 0.0


@pytest.mark.parametrize(
    "lists", [[(0, 1, 1), (0, 2, 3)], [(0, 1, 1), (0, 1, 2)], [(0, 1, 1), (0, 2, 1)]],
    ids=["a gap", "an item twice", "a place twice"],
)  # fmt: skip
def test_lists_that_are_none_are_refused(lists: RANKED) -> None:
    with pytest.raises(ValueError, match="list"):
        scores(lists, [(0, 1)], 5, 1, 5)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11), min_size=1))
def test_metrics_stay_between_zero_and_one_and_grow_or_keep_with_k(
    order: list[int], relevant: set[int]
) -> None:
    lists = [(0, item, rank) for rank, item in enumerate(order, start=1)]
    test = [(0, item) for item in relevant]
    hit_rates, recalls = [], []
    for k in range(1, 13):
        found = scores(lists, test, k, 1, 12)
        assert all(0.0 <= values[0] <= 1.0 + 1e-12 for values in found.values())
        hit_rates.append(found["HitRate"][0])
        recalls.append(found["Recall"][0])
    assert hit_rates == sorted(hit_rates)
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1.0


@given(st.sets(st.integers(0, 11), min_size=1), st.integers(1, 12))
def test_the_best_order_has_an_ndcg_and_map_of_one(relevant: set[int], k: int) -> None:
    order = sorted(relevant) + sorted(set(range(12)) - relevant)
    lists = [(0, item, rank) for rank, item in enumerate(order, start=1)]
    found = scores(lists, [(0, item) for item in relevant], k, 1, 12)
    assert found["NDCG"][0] == pytest.approx(1.0)
    assert found["MAP"][0] == pytest.approx(1.0)


def test_the_same_as_trec_eval_to_six_digits() -> None:
    _, test, lists = check_data()
    wanted = {nDCG @ K: "NDCG", RR @ K: "MRR", Success @ K: "HitRate", R @ K: "Recall",
              P @ K: "Precision"}  # fmt: skip
    theirs = ir_measures.calc_aggregate(
        [*wanted, AP @ K],
        [ir_measures.Qrel(str(u), str(i), 1) for u, i in test],
        [ir_measures.ScoredDoc(str(u), str(i), -rank) for u, i, rank in lists],
    )
    ours = scores(lists, test, K, USERS, ITEMS)
    for measure, name in wanted.items():
        assert of_tested(ours[name], test) == pytest.approx(theirs[measure], abs=1e-6), name
    # trec_eval divides by |G|, ours by min(k, |G|).
    sizes: npt.NDArray[np.int64] = np.bincount([user for user, _ in test], minlength=USERS)
    rescaled = ours["MAP"] * np.minimum(sizes, K) / np.maximum(sizes, 1)
    assert of_tested(rescaled, test) == pytest.approx(theirs[AP @ K], abs=1e-6)


@pytest.mark.parametrize("library", ["rectools", "replay"])
def test_the_same_as_recommender_libraries_to_six_digits(library: str) -> None:
    golden = json.loads((GOLDEN / f"{library}.json").read_text("utf-8"))
    theirs = {name.removesuffix(f"@{K}"): value for name, value in golden.items()}
    _, test, lists = check_data()
    ours = scores(lists, test, K, USERS, ITEMS)
    shared = [name for name in ours if name in theirs]
    assert len(shared) >= 5
    for name in shared:
        assert of_tested(ours[name], test) == pytest.approx(theirs[name], abs=1e-6), name

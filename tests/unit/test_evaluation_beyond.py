"""Metrics beyond accuracy: by hand, and against RecTools and RePlay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.golden.check_data import ITEMS, USERS, K, check_data, features
from vlm4rec_spark.evaluation import beyond
from vlm4rec_spark.evaluation.accuracy import Ints, Lists, Truth, hits

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def rectools() -> dict[str, float]:
    found: dict[str, float] = json.loads((GOLDEN / "rectools.json").read_text("utf-8"))
    return found


def checked() -> tuple[Lists, Truth, Ints]:
    """Return the lists, the test, and the training users of each item."""
    train, test, lists = check_data()
    user, item, rank = (np.array(column, np.int64) for column in zip(*lists, strict=True))
    truth = Truth(*(np.array(column, np.int64) for column in zip(*test, strict=True)))
    item_users = np.bincount([i for _, i in train], minlength=ITEMS)
    return Lists.ordered(user, rank, item, K), truth, item_users


def one_list(*items: int) -> Lists:
    return Lists(
        np.zeros(len(items), np.int64), np.arange(1, len(items) + 1), np.array(items, np.int64)
    )


def test_novelty_popularity_and_coverage_are_those_of_rectools(rectools: dict[str, float]) -> None:
    lists, _, item_users = checked()
    novelty = beyond.novelty(lists, item_users, USERS, USERS)
    assert np.nanmean(novelty) == pytest.approx(rectools["Novelty"], abs=1e-6)
    popularity = beyond.average_popularity(lists, item_users, USERS)
    assert np.nanmean(popularity) == pytest.approx(rectools["ARP"], abs=1e-6)
    listed = np.bincount(lists.item, minlength=ITEMS)
    assert beyond.coverage(listed, ITEMS) == pytest.approx(rectools["Coverage"], abs=1e-6)


def test_serendipity_sums_to_that_of_rectools(rectools: dict[str, float]) -> None:
    lists, truth, item_users = checked()
    anyone = beyond.chance_of_anyone(item_users)
    found = beyond.serendipity(lists, hits(lists, truth, ITEMS), anyone, USERS)
    assert np.nansum(found) == pytest.approx(rectools["Serendipity, sum over users"], abs=1e-6)


def test_diversity_is_that_of_rectools_for_lists_of_two_or_more(rectools: dict[str, float]) -> None:
    lists, _, _ = checked()
    found = np.nanmean(beyond.diversity(lists, features(), USERS))
    assert found == pytest.approx(rectools["Diversity of lists of two or more"], abs=1e-6)


def test_surprisal_of_replay_is_our_novelty_on_another_scale() -> None:
    replay = json.loads((GOLDEN / "replay.json").read_text("utf-8"))
    lists, _, item_users = checked()
    novelty = beyond.novelty(lists, item_users, USERS, USERS)
    length = np.bincount(lists.user, minlength=USERS)
    scaled = novelty * length / K / np.log2(USERS)
    assert np.nanmean(scaled) == pytest.approx(replay["Surprisal@10"], abs=1e-6)


def test_a_cold_item_is_as_new_as_one_user_makes_it_not_infinitely() -> None:
    assert beyond.novelty(one_list(0), np.array([0]), 8, 1).tolist() == [3.0]


def test_users_without_a_list_have_no_novelty_instead_of_a_zero() -> None:
    assert np.isnan(beyond.novelty(one_list(0), np.array([4]), 8, 2)[1])


def test_the_tail_is_what_is_left_of_the_fewest_items_with_80_percent() -> None:
    assert beyond.long_tail(np.array([1, 8, 1, 0])).tolist() == [True, False, True, True]


def test_a_list_of_equal_items_is_not_diverse_and_of_opposite_items_very() -> None:
    same = np.array([[1, 0], [1, 0]], np.float32)
    apart = np.array([[1, 0], [-1, 0]], np.float32)
    assert beyond.diversity(one_list(0, 1), same, 1)[0] == pytest.approx(0.0)
    assert beyond.diversity(one_list(0, 1), apart, 1)[0] == pytest.approx(2.0)
    assert np.isnan(beyond.diversity(one_list(0), same, 1)[0])


def test_items_without_a_vector_do_not_spoil_diversity() -> None:
    rows = np.array([[1, 0], [np.nan, np.nan], [0, 1]], np.float32)
    assert beyond.diversity(one_list(0, 1, 2), rows, 1)[0] == pytest.approx(1.0)


def test_exposure_of_one_item_alone_is_uneven_and_a_hub() -> None:
    even, hub = np.full(100, 3), np.zeros(100, np.int64)
    hub[0] = 300
    assert beyond.gini(even) == pytest.approx(0.0)
    assert beyond.gini(hub) == pytest.approx(0.99)
    assert beyond.hub_skewness(even) == 0.0
    assert beyond.hub_skewness(hub) > 5

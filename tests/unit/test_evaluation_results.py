"""From lists to rows of the metrics table: one test for all arms, or no result at all."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vlm4rec_spark.errors import EvaluationError
from vlm4rec_spark.evaluation.catalogue import ITEMS, Catalogue, write_catalogue
from vlm4rec_spark.evaluation.measure import ACCURACY, MeasureSpec, measure
from vlm4rec_spark.evaluation.ranking import LISTS
from vlm4rec_spark.evaluation.results import Draws, Result, accuracy_results, other_results

Row = dict[str, object]
DRAWS = Draws(("good", "base"), "base", 400, 0, 3)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """Return four items; c and d are cold, b is a variant of a."""
    rows = [
        {"item_id": name, "users": users, "recent_users": 0, "group_no": group,
         "category": "things", "price": price}
        for name, users, group, price in (
            ("a", 9, 0, 1.0), ("b", 1, 0, 2.0), ("c", 0, 2, 3.0), ("d", 0, 3, 4.0)
        )
    ]  # fmt: skip
    return write_catalogue(tmp_path, pa.Table.from_pylist(rows, schema=ITEMS), 10)


def truth(*rows: tuple[str, str]) -> pa.Table:
    return pa.table(
        {
            "user_id": [user for user, _ in rows],
            "item_id": [item for _, item in rows],
            "age_days": pa.array([1] * len(rows), pa.int32()),
            "n_history": [5] * len(rows),
            "is_variant": [item == "b" for _, item in rows],
        }
    )


def lists(*rows: tuple[str, str, str, int, str]) -> pa.Table:
    """Return rows arm, pool, user, rank, item; the same with variants collapsed."""
    both = [
        {"arm": arm, "pool": pool, "variants": variants, "user_id": user, "rank": rank,
         "item_id": item}
        for variants in ("kept", "collapsed")
        for arm, pool, user, rank, item in rows
    ]  # fmt: skip
    return pa.Table.from_pylist(both, schema=LISTS)


def measured(catalogue: Catalogue, given: pa.Table, test: pa.Table) -> list[Row]:
    spec = MeasureSpec(str(catalogue.folder), (("good", ()), ("base", ())), 3)
    rows: list[Row] = measure(given, test, 0, spec).to_pylist()
    return rows


def value(rows: list[Row], metric: str, **keys: str) -> list[object]:
    return [row[metric] for row in rows if all(row[k] == v for k, v in keys.items())]


def test_every_arm_is_measured_for_every_user_with_a_list_or_without(catalogue: Catalogue) -> None:
    rows = measured(catalogue, lists(("good", "all", "u", 1, "a")), truth(("u", "a"), ("v", "c")))
    for arm in ("good", "base"):
        users = value(rows, "user_id", arm=arm, pool="all", variants="kept", slice="everyone")
        assert users == ["u", "v"]
    everyone = {"pool": "all", "variants": "kept", "slice": "everyone"}
    assert value(rows, "NDCG", arm="good", **everyone) == [1.0, 0.0]
    assert value(rows, "NDCG", arm="base", **everyone) == [0.0, 0.0]
    assert value(rows, "Novelty", arm="base", **everyone) == [None, None]


def test_the_cold_view_tests_cold_items_alone_and_the_collapsed_one_no_variants(
    catalogue: Catalogue,
) -> None:
    given = lists(("good", "all", "u", 1, "c"), ("good", "cold", "u", 1, "c"))
    rows = measured(catalogue, given, truth(("u", "c"), ("u", "b")))
    good = {"arm": "good", "slice": "everyone"}
    assert value(rows, "Recall", pool="all", variants="kept", **good) == [0.5]
    assert value(rows, "Recall", pool="all", variants="collapsed", **good) == [1.0]
    assert value(rows, "Recall", pool="cold", variants="kept", **good) == [1.0]


def test_slices_split_the_test_items_and_add_up_to_all_users(catalogue: Catalogue) -> None:
    given = lists(("good", "all", "u", 1, "a"), ("good", "all", "v", 1, "d"))
    rows = measured(catalogue, given, truth(("u", "a"), ("u", "c"), ("v", "d")))
    good = {"arm": "good", "pool": "all"}
    assert value(rows, "Recall", slice="temperature", segment="warm", **good) == [1.0]
    assert value(rows, "Recall", slice="temperature", segment="cold", **good) == [0.0, 1.0]
    assert sum(int(str(n)) for n in value(rows, "n", slice="history", **good)) == 2
    assert value(rows, "n", slice="age", segment="day 0-1", **good) == [1, 1]


def test_a_list_with_an_item_outside_its_pool_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(ValueError, match="no candidate"):
        measured(catalogue, lists(("good", "cold", "u", 1, "a")), truth(("u", "c")))


def sums(units: int, *, lost: bool = False) -> pa.Table:
    """Return sums in which `good` beats `base` by 0.1 for every unit; `lost`: it lacks a unit."""
    rng = np.random.default_rng(0)
    rows = []
    for unit in range(units):
        base = float(rng.random())
        for arm, more in (("good", 0.1), ("base", 0.0)):
            if lost and arm == "good" and unit == 0:
                continue
            keys = {"arm": arm, "pool": "all", "variants": "kept", "slice": "everyone",
                    "segment": "all", "unit": f"0-{unit}", "n": 1}  # fmt: skip
            rows.append({**keys, **dict.fromkeys(ACCURACY, base + more)})
    return pa.Table.from_pylist(rows)


def test_a_paired_difference_is_sharper_than_the_values(catalogue: Catalogue) -> None:
    good = {r.metric: r for r in accuracy_results(sums(50), DRAWS) if r.arm == "good"}["NDCG@3"]
    assert good.difference == pytest.approx(0.1)
    assert good.difference_high - good.difference_low < 1e-9
    assert good.high - good.low > 0.05
    assert good.p_holm < 0.05
    assert good.n_users == 50
    assert len(catalogue.items) == 4


def test_arms_measured_over_different_users_are_never_compared() -> None:
    with pytest.raises(EvaluationError, match="over other users"):
        accuracy_results(sums(50, lost=True), DRAWS)


def test_coverage_counts_candidates_of_the_pool_alone(catalogue: Catalogue) -> None:
    means = pa.table(
        {
            "arm": ["good"] * 2,
            "pool": ["all", "cold"],
            "variants": ["kept"] * 2,
            "n": [2, 1],
            "Novelty": [1.5, None],
        }
    )
    listed = pa.table(
        {
            "arm": ["good"] * 3,
            "pool": ["all", "all", "cold"],
            "variants": ["kept"] * 3,
            "item_id": ["a", "c", "c"],
            "count": [2, 1, 1],
        }
    )
    found: dict[tuple[str, str], Result] = {
        (r.pool, r.metric): r for r in other_results(means, listed, catalogue, 3)
    }
    assert found["all", "Coverage@3"].value == 0.5
    assert found["cold", "Coverage@3"].value == 0.5
    assert ("cold", "Novelty@3") not in found
    assert math.isnan(found["all", "Novelty@3"].low)

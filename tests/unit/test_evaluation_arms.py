"""Arms: the product's own lists, one mask for all, and the baselines against plain algebra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm4rec_spark.config_models import ProfilesConfig
from vlm4rec_spark.errors import EvaluationError
from vlm4rec_spark.evaluation import models
from vlm4rec_spark.evaluation.arms import (
    Arm,
    Block,
    LinearArm,
    NeighbourArm,
    PopularArm,
    RankFusionArm,
    VectorArm,
    WeightedArm,
    best_scores,
)
from vlm4rec_spark.evaluation.arms_job import profiled
from vlm4rec_spark.evaluation.catalogue import ITEMS, Catalogue, save_array, write_catalogue
from vlm4rec_spark.evaluation.groups import variant_groups
from vlm4rec_spark.evaluation.models import Pairs
from vlm4rec_spark.evaluation.moved import MovedSpaces
from vlm4rec_spark.evaluation.ranking import RankSpec, admitted, ranked
from vlm4rec_spark.profiles.vectors import histories
from vlm4rec_spark.testing import unit_vectors
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.lists import ListSpec, block_lists
from vlm4rec_spark.topk.snapshot import Snapshot

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Floats

N, USERS, K = 40, 12, 6


def matrix() -> npt.NDArray[np.float64]:
    """Return who has what, (users, items); the last five items are nobody's."""
    taken = np.random.default_rng(5).random((USERS, N)) < 0.2
    taken[:, -5:] = False
    return taken.astype(np.float64)


def pairs_of(x: Floats) -> Pairs:
    gram, shared = x.T @ x, x.T @ (x / np.maximum(x.sum(1, keepdims=True), 1))
    left, right = np.nonzero(gram)
    return Pairs.of(left, right, gram[left, right], shared[left, right])


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    x = matrix()
    rows = [
        {"item_id": f"i{n:02d}", "users": int(x[:, n].sum()), "recent_users": int(x[:6, n].sum()),
         "group_no": n - n % 2, "category": "a", "price": 1.0}
        for n in range(N)
    ]  # fmt: skip
    made = write_catalogue(tmp_path, pa.Table.from_pylist(rows, schema=ITEMS), USERS)
    vectors = unit_vectors(N, 8, 1)
    vectors[3] = np.nan
    save_array(tmp_path, "space-caption", vectors)
    save_array(tmp_path, "space-title", unit_vectors(N, 8, 2))
    save_array(tmp_path, "model-item_knn", models.neighbours(pairs_of(x), N, 10))
    save_array(tmp_path, "model-ease", models.ease(pairs_of(x), N, 5.0))
    return made


def history() -> pa.Table:
    user, item = np.nonzero(matrix())
    return pa.table(
        {
            "user_id": [f"u{u:02d}" for u in user],
            "item_id": [f"i{i:02d}" for i in item],
            "weight": np.arange(1.0, len(user) + 1),
            "seen": np.ones(len(user), bool),
        }
    )


ARMS: tuple[Arm, ...] = (
    VectorArm("caption", "caption"),
    VectorArm("three", "caption", interests=3),
    PopularArm("popular"),
    PopularArm("recent", recent=True),
    NeighbourArm("item_knn", 10),
    LinearArm("ease", "ease"),
    WeightedArm("weighted", ("caption", "title"), 0.4),
    RankFusionArm("fused", ("caption", "title")),
)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_no_arm_lists_what_is_seen_repeated_or_outside_the_pool(
    arm: Arm, catalogue: Catalogue
) -> None:
    rows = ranked(history(), RankSpec(str(catalogue.folder), (arm,), K)).to_pylist()
    seen = {(r["user_id"], r["item_id"]) for r in history().to_pylist()}
    assert rows
    for row in rows:
        assert (row["user_id"], row["item_id"]) not in seen
        number = int(row["item_id"][1:])
        assert row["pool"] == "all" or number >= N - 5 or matrix()[:, number].sum() == 0
        if row["variants"] == "collapsed":
            twin = f"i{number + 1 - 2 * (number % 2):02d}"
            assert (row["user_id"], twin) not in seen
    places = [(r["pool"], r["variants"], r["user_id"], r["item_id"]) for r in rows]
    assert len(set(places)) == len(places)


def test_a_vector_arm_lists_exactly_what_the_product_lists(catalogue: Catalogue) -> None:
    items = pa.table(
        {
            "item_id": catalogue.items["item_id"].cast(pa.string()),
            "title": [""] * N,
            "words": pa.array([[]] * N, pa.map_(pa.string(), pa.string())),
        }
    )
    product = Snapshot.of(items, unit_vectors(N, 8, 2), np.ones((1, N), bool))
    block = histories(history(), catalogue.rows_of(history()["item_id"]))
    listed = block_lists(product, block, ListSpec(EngineSpec("exact"), K)).to_pylist()
    theirs = [(e["user_id"], e["rank"], e["item_id"]) for e in listed]
    arm = VectorArm("title", "title")
    rows = ranked(history(), RankSpec(str(catalogue.folder), (arm,), K)).to_pylist()
    ours = [
        (r["user_id"], r["rank"], r["item_id"])
        for r in rows
        if (r["pool"], r["variants"]) == ("all", "kept")
    ]
    assert sorted(ours) == sorted(theirs)


def test_a_profile_arm_can_have_interests_and_a_centred_space(catalogue: Catalogue) -> None:
    plain, spaces = VectorArm("mine", "caption"), MovedSpaces(catalogue, pytest.fail)
    arm = profiled(plain, ProfilesConfig(interests=3, centre=True), spaces)
    assert (arm.spaces, arm.interests) == (("caption-centred", "caption"), 3)
    assert profiled(plain, ProfilesConfig(), spaces) == plain
    centred = catalogue.space("caption-centred")
    assert np.isnan(centred[3]).all()
    liked = np.flatnonzero(matrix()[0])
    whole = arm.rank(_everyone(catalogue), K)
    assert not set(next(whole).tolist()) & {*liked.tolist(), 3}
    assert [len(rows) for rows in whole] == [K] * (USERS - 1)


def test_arms_share_the_spaces_that_their_profile_options_ask_for(catalogue: Catalogue) -> None:
    words = pa.array(
        [[("style", f"s{n % 3}")] for n in range(N)], pa.map_(pa.string(), pa.string())
    )
    spaces = MovedSpaces(catalogue, lambda: words)
    options: list[dict[str, object]] = [
        {"whiten": True}, {"whiten": True, "fusion": "max"}, {"centre": True},
        {"centre": True, "facets": {"style": 0}}, {"facets": {"style": 2.5}},
    ]  # fmt: skip
    arms = [
        profiled(VectorArm(f"a{n}", "caption"), ProfilesConfig.model_validate(o), spaces)
        for n, o in enumerate(options)
    ]
    assert [arm.space.removeprefix("caption-") for arm in arms] == [
        "whitened", "whitened", "centred", "centred-style0.0", "plain-style2.5"
    ]  # fmt: skip
    assert spaces.made == {arm.space for arm in arms}
    assert arms[1].fusion.kind == "max"
    for arm in arms:
        assert [len(rows) for rows in arm.rank(_everyone(catalogue), K)] == [K] * USERS


def _everyone(catalogue: Catalogue) -> Block:
    block = histories(history(), catalogue.rows_of(history()["item_id"]))
    seen = [block.rows[block.of(user)] for user in range(USERS)]
    return Block(catalogue, block, catalogue.pool("all"), seen)


def test_what_nobody_had_is_never_listed_by_arms_that_learn_from_events(
    catalogue: Catalogue,
) -> None:
    arms = tuple(arm for arm in ARMS if arm.name in ("popular", "recent", "item_knn", "ease"))
    rows = ranked(history(), RankSpec(str(catalogue.folder), arms, K)).to_pylist()
    assert not [row for row in rows if row["pool"] == "cold"]


def test_item_knn_is_the_cosine_of_columns() -> None:
    x = matrix()
    norms = np.sqrt((x**2).sum(0))
    cosine = (x.T @ x) / np.maximum(np.outer(norms, norms), 1e-12)
    np.fill_diagonal(cosine, 0)
    near, found = models.neighbours(pairs_of(x), N, N - 1)
    dense = np.zeros((N, N))
    for row in range(N):
        np.add.at(dense[row], near[row].astype(int), found[row])
    assert dense == pytest.approx(cosine)


def test_ease_is_the_closed_form_with_a_zero_diagonal() -> None:
    x = matrix()[:, :20]
    inverse = np.linalg.inv(x.T @ x + 5.0 * np.eye(20))
    wanted = np.eye(20) - inverse / np.diag(inverse)
    wanted[np.diag_indices(20)] = 0
    warm = x.sum(0) > 0
    found = models.ease(pairs_of(x), 20, 5.0)
    assert found[np.ix_(warm, warm)] == pytest.approx(wanted[np.ix_(warm, warm)], abs=1e-5)


def test_ease_says_when_there_are_too_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "EASE_MOST_ITEMS", 3)
    with pytest.raises(EvaluationError, match="leave 'ease' out"):
        models.ease(pairs_of(matrix()), N, 1.0)


def test_more_pairs_of_items_than_the_driver_takes_are_refused() -> None:
    models.check_pairs(models.MOST_PAIRS)
    with pytest.raises(EvaluationError, match="50,000,001 different pairs"):
        models.check_pairs(models.MOST_PAIRS + 1)


def test_smoothing_is_the_normalised_propagation_of_lightgcn() -> None:
    x, vectors = matrix(), unit_vectors(N, 8, 3)
    by_user, by_item = np.maximum(x.sum(1), 1), np.maximum(x.sum(0), 1)
    users = (x / np.sqrt(np.outer(by_user, by_item))) @ vectors
    items = (x / np.sqrt(np.outer(by_user, by_item))).T @ users
    wanted = vectors + items
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = models.smoothed(pairs_of(x), vectors)
    assert found == pytest.approx(wanted, abs=1e-5)
    assert found[-1] == pytest.approx(vectors[-1])


def test_the_lists_of_another_tool_lose_what_may_not_be_listed_and_close_up(
    catalogue: Catalogue,
) -> None:
    (own,) = [r["item_id"] for r in history().to_pylist() if r["user_id"] == "u00"][:1]
    free = sorted({f"i{n:02d}" for n in range(N)} - {r["item_id"] for r in history().to_pylist()
                                                      if r["user_id"] == "u00"})[:2]  # fmt: skip
    foreign = pa.table(
        {
            "user_id": ["u00"] * 4 + ["stranger"],
            "item_id": [free[0], own, free[0], free[1], free[0]],
            "rank": pa.array([1, 2, 3, 4, 1], pa.int32()),
        }
    )
    spec = RankSpec(str(catalogue.folder), (), K)
    rows = admitted("theirs", foreign, history(), spec).to_pylist()
    kept = [
        (row["rank"], row["item_id"])
        for row in rows
        if (row["user_id"], row["pool"], row["variants"]) == ("u00", "all", "kept")
    ]
    assert kept == [(1, free[0]), (2, free[1])]
    assert {row["user_id"] for row in rows} == {"u00"}


def test_excluded_users_still_meet_a_block_of_one_shape(catalogue: Catalogue) -> None:
    block = histories(history(), catalogue.rows_of(history()["item_id"]))
    nothing = [np.empty(0, np.int64)] * len(block.users)
    view = Block(catalogue, block, catalogue.pool("all"), nothing)
    for arm in ARMS:
        assert len(list(arm.rank(view, K))) == len(block.users)


def test_variants_and_equal_pictures_chain_into_one_group_but_placeholders_do_not() -> None:
    table = pa.table(
        {
            "variant_group": ["g", "g", None, None, *[None] * 20],
            "request_key": ["a", "b", "b", "c", *["no photo yet"] * 20],
        }
    )
    groups = variant_groups(table)
    assert len({int(g) for g in groups[:3]}) == 1
    assert groups[3] != groups[0]
    assert len({int(g) for g in groups[4:]}) == 20


@given(
    scores=st.lists(
        st.sampled_from([-0.1, 0.0, 3e-7, 0.1, 0.1 + 4e-7, 0.1 + 6e-7, 0.2]), max_size=30
    ),
    k=st.integers(1, 8),
    data=st.data(),
)
def test_the_best_scores_are_those_of_a_full_sort_of_rounded_scores(
    scores: list[float], k: int, data: st.DataObject
) -> None:
    rows = st.lists(st.sampled_from(range(len(scores) or 1)), unique=True)
    pool = sorted(data.draw(rows)) if scores else []
    excluded = sorted(data.draw(rows)) if scores else []
    rounded = {row: round(scores[row], 6) for row in pool if row not in excluded}
    wanted = sorted((row for row in rounded if rounded[row] > 0), key=lambda r: (-rounded[r], r))[
        :k
    ]
    found = best_scores(np.array(scores), np.array(pool, int), np.array(excluded, int), k)
    assert found.tolist() == wanted

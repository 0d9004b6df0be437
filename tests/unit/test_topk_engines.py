"""Engines against brute force; what every engine promises, whatever the masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.topk_pieces import clustered, snapshot, unit
from vlm4rec_spark.config_lists import TopkConfig
from vlm4rec_spark.errors import EngineError
from vlm4rec_spark.topk.audit import Audit, Recall, recall_of
from vlm4rec_spark.topk.engines import leaves as leaves_module
from vlm4rec_spark.topk.engines import scann
from vlm4rec_spark.topk.engines.choice import (
    EngineSpec,
    Sample,
    chosen_engine,
    estimated_costs,
    tuned,
)
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.engines.leaves import Leaves, build_leaves
from vlm4rec_spark.topk.engines.list_major import WIDEST, ListMajorEngine
from vlm4rec_spark.topk.engines.scann import MARGIN, depths
from vlm4rec_spark.topk.engines.selection import best_of
from vlm4rec_spark.topk.ranking import ranked
from vlm4rec_spark.topk.tuning import serves_again, widened

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Engine, Vectors


def random_masks(rng: np.random.Generator, queries: int, n: int) -> Masks:
    """Return masks with histories of very different lengths and two groups."""
    sizes = rng.integers(0, n + 1, queries) * (rng.random(queries) < 0.5)
    hidden = [np.sort(rng.choice(n, size, replace=False)) for size in sizes]
    return Masks(
        np.concatenate([np.zeros(0, np.int64), *hidden]),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        rng.random((2, n)) < 0.6,
        rng.integers(0, 2, queries),
    )


def brute_force(vectors: Vectors, queries: Vectors, k: int, masks: Masks) -> list[set[int]]:
    """Return the k best rows of each query that may be given, row by row in float64."""
    found = []
    for q, query in enumerate(queries.astype(float)):
        hidden = set(masks.hidden[masks.starts[q] : masks.starts[q + 1]].tolist())
        may = [r for r in np.flatnonzero(masks.allowed[masks.group[q]]) if r not in hidden]
        found.append(set(sorted(may, key=lambda r: -float(vectors[r].astype(float) @ query))[:k]))
    return found


def few_leaves(vectors: Vectors, count: int) -> tuple[Leaves, Vectors]:
    """Return rows leaf by leaf, in leaves made by hand: the nearest of some rows."""
    centroids = vectors[:count]
    leaf = (vectors @ centroids.T).argmax(1)
    order = np.argsort(leaf, kind="stable")
    offsets = np.searchsorted(leaf[order], np.arange(count + 1))
    return Leaves(centroids, offsets), np.ascontiguousarray(vectors[order])


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 40), st.integers(1, 9))
def test_exact_search_and_leaves_that_are_all_probed_find_the_best_rows_under_any_masks(
    seed: int, n: int, k: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    leaves, vectors = few_leaves(unit(rng, n, 5), min(count, n))
    queries, masks = unit(rng, 7, 5), random_masks(rng, 7, n)
    truth = brute_force(vectors, queries, k, masks)
    engines: list[Engine] = [ExactEngine(vectors), ListMajorEngine(vectors, leaves, WIDEST)]
    for engine in engines:
        found = engine.nearest(queries, k, masks)
        assert found.shape == (7, k)
        for rows, best in zip(found, truth, strict=True):
            listed = rows[rows >= 0].tolist()
            assert len(listed) == len(set(listed))
            assert set(listed) == best


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 300), st.integers(1, 40))
def test_the_narrowest_search_still_fills_every_list(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    leaves, vectors = few_leaves(unit(rng, n, 5), min(8, n))
    queries, masks = unit(rng, 7, 5), random_masks(rng, 7, n)
    found = ListMajorEngine(vectors, leaves, 1).nearest(queries, k, masks)
    assert ((found >= 0).sum(1) == np.minimum(masks.eligible(), k)).all()


@pytest.mark.parametrize("tree", [False, True])
def test_scann_fills_every_list_and_keeps_what_masks_hide_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: bool
) -> None:
    if tree:
        monkeypatch.setattr(scann, "BRUTE_FORCE_BELOW", 1000)
    rng = np.random.default_rng(4)
    vectors = clustered(rng, 4000, 32, 40)
    queries, masks = unit(rng, 30, 32), random_masks(rng, 30, 4000)
    scann.build_index(vectors, tmp_path)
    # All leaves: ScaNN builds another tree of the same rows now and then, and half of its leaves
    # may then miss more.
    engine = scann.ScannFiles(str(tmp_path)).opened(vectors, round(4000**0.5))
    found = engine.nearest(queries, 20, masks)
    exact = ExactEngine(vectors).nearest(queries, 20, masks)
    assert ((found >= 0).sum(1) == np.minimum(masks.eligible(), 20)).all()
    for q, rows in enumerate(found):
        listed = rows[rows >= 0]
        hidden = masks.hidden[masks.starts[q] : masks.starts[q + 1]]
        assert len(set(listed.tolist())) == len(listed)
        assert not np.isin(listed, hidden).any()
        assert masks.allowed[masks.group[q], listed].all()
    assert recall_of(vectors, queries, found, exact).mean > 0.98


def test_scann_keeps_codes_and_no_copy_of_the_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scann, "BRUTE_FORCE_BELOW", 1000)
    vectors = clustered(np.random.default_rng(4), 4000, 384, 40)
    scann.build_index(vectors, tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < vectors.nbytes / 4


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 40))
def test_rescoring_keeps_the_best_candidates_that_no_mask_hides(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries, masks = unit(rng, n, 5), unit(rng, 7, 5), random_masks(rng, 7, n)
    candidates = np.array([rng.permutation(n)[: max(1, n // 2)] for _ in queries])
    candidates[rng.random(candidates.shape) < 0.2] = -1
    found = best_of(vectors, queries, candidates, k, masks)
    for q, (rows, given_rows) in enumerate(zip(found, candidates, strict=True)):
        some = given_rows[given_rows >= 0]
        may = some[masks.allow(np.full(len(some), q), some)]
        best = may[np.argsort(-(vectors[may] @ queries[q]))][:k]
        assert sorted(rows[rows >= 0].tolist()) == sorted(best.tolist())


def test_scann_searches_deep_for_those_alone_who_have_seen_much() -> None:
    hidden = [0, 3, 700]
    starts = np.concatenate([[0], np.cumsum(hidden)])
    masks = Masks(
        np.zeros(starts[-1], np.int64), starts, np.ones((1, 5000), bool), np.zeros(3, int)
    )
    found = {depth: users.tolist() for depth, users in depths(10, masks, 5000).items()}
    assert found == {10 + MARGIN: [0], 10 + 32: [1], 10 + 2048: [2]}
    half = replace(masks, starts=np.zeros(4, np.int64), allowed=np.arange(5000)[None] % 2 == 0)
    assert list(depths(10, half, 5000)) == [10 + 64]  # half of what is found may be given


def test_what_scann_pads_a_short_answer_with_is_not_listed() -> None:
    vectors = unit(np.random.default_rng(2), 40, 8)

    def search(queries: Vectors, **_: int) -> tuple[npt.NDArray[np.uint32], Vectors]:
        rows = np.zeros((len(queries), 30), np.uint32)
        scores = np.full(rows.shape, np.nan, np.float32)
        rows[:, :3], scores[:, :3] = [7, 8, 9], 0.5
        return rows, scores

    masks = Masks.nothing(2, 40)
    found = scann.ScannEngine(search, vectors, 1)._filtered(vectors[:2], 5, 30, masks)
    assert [sorted(rows.tolist()) for rows in found] == [[-1, -1, 7, 8, 9]] * 2
    # Too few: these are searched for exactly.
    whole = scann.ScannEngine(search, vectors, 1).nearest(vectors[:2], 5, masks)
    exact = ExactEngine(vectors).nearest(vectors[:2], 5, masks)
    assert np.array_equal(np.sort(whole), np.sort(exact))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 401))
def test_the_leaves_of_a_query_do_not_depend_on_who_else_is_searched_for(
    seed: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    leaves, vectors = few_leaves(clustered(rng, 600, 16, 20), 25)
    queries = unit(rng, 40, 16)
    engine = ListMajorEngine(vectors, leaves, width)
    together = engine.nearest(queries, 10, Masks.nothing(40, 600))
    some = np.sort(rng.choice(40, int(rng.integers(1, 40)), replace=False))
    alone = engine.nearest(queries[some], 10, Masks.nothing(len(some), 600))
    assert np.array_equal(np.sort(alone), np.sort(together[some]))


@pytest.mark.parametrize("n", [1, 7])
def test_scann_returns_every_row_of_a_small_matrix_once(tmp_path: Path, n: int) -> None:
    vectors = unit(np.random.default_rng(2), n, 8)
    scann.build_index(vectors, tmp_path)
    engine = scann.ScannFiles(str(tmp_path)).opened(vectors, 1)
    found = engine.nearest(np.repeat(vectors[:1], 2, axis=0), 50, Masks.nothing(2, n))
    assert [sorted(rows[rows >= 0].tolist()) for rows in found] == [list(range(n))] * 2


def test_scann_finds_the_same_with_several_threads(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    vectors, queries = unit(rng, 500, 16), unit(rng, 300, 16)
    scann.build_index(vectors, tmp_path)
    alone, together = (
        scann.ScannFiles(str(tmp_path), threads)
        .opened(vectors, 1)
        .nearest(queries, 10, Masks.nothing(300, 500))
        for threads in (1, 3)
    )
    assert np.array_equal(alone, together)


def test_scann_refuses_a_query_that_is_no_number(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(2), 20, 8)
    scann.build_index(vectors, tmp_path)
    engine = scann.ScannFiles(str(tmp_path)).opened(vectors, 1)
    with pytest.raises(EngineError, match="not finite"):
        engine.nearest(np.full((1, 8), np.nan, np.float32), 3, Masks.nothing(1, 20))


def test_leaves_hold_every_row_once_and_the_nearest_rows_share_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaves_module, "ONE_LEAF_BELOW", 100)
    rng = np.random.default_rng(3)
    vectors = clustered(rng, 2500, 16, 12)
    leaves, order = build_leaves(vectors)
    again, same = build_leaves(vectors)
    assert sorted(order.tolist()) == list(range(2500))
    assert leaves.offsets[0] == 0
    assert leaves.offsets[-1] == 2500
    np.testing.assert_array_equal(order, same)
    np.testing.assert_array_equal(leaves.centroids, again.centroids)
    np.testing.assert_allclose(np.linalg.norm(leaves.centroids, axis=1), 1, atol=1e-5)
    engine = ListMajorEngine(np.ascontiguousarray(vectors[order]), leaves, 40)
    queries, masks = vectors[:50], Masks.nothing(50, 2500)
    exact = ExactEngine(engine.vectors).nearest(queries, 10, masks)
    assert recall_of(engine.vectors, queries, engine.nearest(queries, 10, masks), exact).mean > 0.95


def test_tuning_finds_the_smallest_width_that_reaches_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaves_module, "ONE_LEAF_BELOW", 100)
    rng = np.random.default_rng(5)
    rows = clustered(rng, 4000, 16, 60)
    leaves, order = build_leaves(rows)
    vectors = np.ascontiguousarray(rows[order])
    queries = unit(rng, 60, 16)
    sample = Sample.of(queries, Masks.nothing(60, 4000), vectors, 20)

    def low_recall(width: int) -> float:
        engine = ListMajorEngine(vectors, leaves, width)
        found = engine.nearest(queries, 20, sample.masks)
        return recall_of(vectors, queries, found, sample.exact).low

    width, reached = tuned(lambda w: ListMajorEngine(vectors, leaves, w), sample, WIDEST, 0.97)
    assert reached.low == pytest.approx(low_recall(width))
    assert low_recall(width) >= 0.97
    assert low_recall(width - 1) < 0.97
    assert tuned(lambda w: ListMajorEngine(vectors, leaves, w), sample, WIDEST, 1.0)[1].mean == 1.0


def test_a_search_that_misses_the_target_is_widened_and_audited_on_others() -> None:
    asked: list[tuple[int, int]] = []
    all_found = Recall(1.0, 1.0, 200)

    def measure(engine: EngineSpec, number: int) -> Audit:
        asked.append((engine.width, number))
        return Audit(all_found, Recall(min(1.0, engine.width / 20), 0.0, 200))

    tuned_engine = EngineSpec("list_major", 3)
    engine, audited = widened(tuned_engine, 100, 0.99, measure)
    assert (engine.width, audited.worst.mean) == (24, 1.0)
    assert asked == [(3, 1), (6, 2), (12, 3), (24, 4)]
    exact = EngineSpec("exact")
    assert widened(exact, 100, 0.99, measure) == (exact, Audit(all_found, Recall(0.0, 0.0, 200)))


@pytest.mark.parametrize(("name", "most"), [("list_major", WIDEST), ("scann", 200)])
def test_a_search_is_widened_to_all_leaves_and_no_further(name: str, most: int) -> None:
    missed = Audit(Recall(0.5, 0.4, 200), Recall(1.0, 1.0, 200))
    engine, audited = widened(EngineSpec(name, 3), 40_000, 0.99, lambda *_: missed)
    assert (engine.width, audited) == (most, missed)


def test_many_rows_with_one_vector_are_listed_by_id_in_any_block() -> None:
    state = snapshot(1, 400)
    state.vectors[100:] = state.vectors[100]
    queries = np.repeat(state.vectors[100:101], 3, axis=0)
    found = ranked(state, ExactEngine(state.vectors), queries, 5, Masks.nothing(3, 400))
    assert found.rows.tolist() == [[100, 101, 102, 103, 104]] * 3


def test_the_engine_is_chosen_by_what_it_would_cost() -> None:
    assert chosen_engine("auto", 5_000, 1000, 384) == "exact"
    assert chosen_engine("exact", 10_000_000, 10, 384) == "exact"
    costs = estimated_costs(1_000_000, 1_000_000, 1e-8)
    assert costs["list_major"] < costs["exact"] / 20
    assert set(estimated_costs(100, 10, 1e-8)) == {"exact"}


@pytest.mark.parametrize(
    ("asked", "target", "before", "serves"),
    [
        ("auto", 0.99, "list_major", True),
        ("auto", 0.99, "scann", False),  # whose files are not there
        ("auto", 1.0, "list_major", False),
        ("auto", 1.0, "exact", True),
        ("exact", 0.99, "list_major", False),
        ("scann", 0.99, "scann", True),
        ("scann", 1.0, "scann", False),
        ("scann", 1.0, "exact", True),
    ],
)
def test_the_engine_of_the_run_before_serves_again_where_it_could_be_chosen_now(
    asked: Literal["auto", "exact", "scann"], target: float, before: str, serves: bool
) -> None:
    settings = TopkConfig(engine=asked, recall_target=target)
    assert serves_again(settings, EngineSpec(before, 3)) == serves


def test_recall_counts_ties_as_hits_and_empty_places_as_misses() -> None:
    vectors = np.eye(4, dtype=np.float32)
    queries = np.array([[1.0, 0.5, 0.5, 0.0]], np.float32)
    assert recall_of(vectors, queries, np.array([[0, 2]]), np.array([[0, 1]])).mean == 1.0
    assert recall_of(vectors, queries, np.array([[0, -1]]), np.array([[0, 1]])).mean == 0.5
    assert recall_of(vectors, queries, np.array([[0, 3]]), np.array([[0, 1]])).mean == 0.5
    assert recall_of(vectors, queries[:0], np.zeros((0, 2), int), np.zeros((0, 2), int)).users == 0

"""Lists made of what shards found: the same as those of the whole matrix, whatever was found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.topk_pieces import block, clustered, history, random_history, snapshot, unit
from vlm4rec_spark.config import load_config
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.profiles.vectors import Fusion
from vlm4rec_spark.topk.engines.choice import EngineSpec, open_engine, open_parted
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.engines.leaves import Leaves
from vlm4rec_spark.topk.engines.parts import Foreseen, Listener, parts, questions, searched
from vlm4rec_spark.topk.lists import (
    ListSpec,
    allowed_lines,
    block_lists,
    first_candidates,
    nearest_items,
)
from vlm4rec_spark.topk.plan import neighbours
from vlm4rec_spark.topk.rerank import Rerank

if TYPE_CHECKING:
    from vlm4rec_spark.profiles.vectors import Histories
    from vlm4rec_spark.topk.engines.interface import Rows, Vectors
    from vlm4rec_spark.topk.snapshot import Snapshot

EXACT, LIST_MAJOR = EngineSpec("exact"), EngineSpec("list_major", 60)
SPECS = (
    ListSpec(EXACT, 1),
    ListSpec(EXACT, 1, interests=3),
    ListSpec(EXACT, 1, fusion=Fusion("max")),
    ListSpec(EXACT, 1, fusion=Fusion("softmax", 10.0)),
    ListSpec(EXACT, 1, segments=("DE",), has_user_rules=True),
    ListSpec(EXACT, 1, Rerank(caps=(("brand", 1),), near_equal=0.9)),
    ListSpec(EXACT, 1, Rerank(relevance=0.6, pins=(("i001", 2),), shares=(0.3,))),
    ListSpec(EXACT, 1, Rerank(shares=(0.2,), business_weight=0.5), interests=2),
    ListSpec(EXACT, 1, Rerank(caps=(("brand", 2),)), fusion=Fusion("softmax", 5.0)),
)


class Watched:
    """An engine that counts the queries that it is asked."""

    def __init__(self, state: Snapshot, spec: EngineSpec) -> None:
        self.engine = open_engine(spec, state)
        self.asked = 0

    def nearest(self, queries: Vectors, k: int, masks: Masks) -> Rows:
        """See `Engine`."""
        self.asked += len(queries)
        return self.engine.nearest(queries, k, masks)


def drawn(rng: np.random.Generator, n: int, leaves: int, spec: ListSpec) -> Snapshot:
    """Return a catalogue with leaves, promotions, rules and business values, and with twins."""
    rows = clustered(rng, n, 6, 5)
    rows[rng.random(n) < 0.2] = rows[0]
    leaf = np.sort((rows @ rows[:leaves].T).argmax(1))
    order = np.argsort((rows @ rows[:leaves].T).argmax(1), kind="stable")
    offsets = np.searchsorted(leaf, np.arange(leaves + 1)).astype(np.int64)
    return replace(
        snapshot(0, n, vectors=np.ascontiguousarray(rows[order])),
        leaves=Leaves(rows[:leaves].copy(), offsets),
        rank=rng.permutation(n),
        popularity=rng.random((2, n)).round(1),
        allowed=rng.random((2, n)) < 0.8,
        promoted=rng.random((len(spec.rerank.shares), n)) < 0.2,
        business=rng.random(n),
    )


def shoppers(rng: np.random.Generator, state: Snapshot, users: int) -> Histories:
    """Return histories with dislikes and segments; the last user has the likes of the first."""
    table = random_history(rng, users, len(state), 0.15)
    rows = [(r["user_id"], r["item_id"], r["weight"], r["seen"]) for r in table.to_pylist()]
    rows = [(u, i, w if rng.random() < 0.8 else -w, s) for u, i, w, s in rows]
    rows += [("twin", item, weight, False) for user, item, weight, _ in rows if user == "u0"]
    made = history(*rows)
    segments = ["DE" if user in ("u1", "twin") else None for user in made["user_id"].to_pylist()]
    return block(state, made.append_column("segment", pa.array(segments, pa.string())))


def noted(state: Snapshot, asked: Listener, engine: EngineSpec, shards: int) -> list[pa.Table]:
    """Return what each shard has for what was asked."""
    opened, lines = open_parted(engine, state), allowed_lines(state)
    return [searched(asked.questions(), lines, opened, part) for part in parts(len(state), shards)]


def found_for(state: Snapshot, users: Histories, spec: ListSpec, shards: int) -> list[pa.Table]:
    """Return what each shard has for lists."""
    asked = Listener()
    first_candidates(state, users, spec, asked)
    return noted(state, asked, spec.engine, shards)


@settings(max_examples=150)
@given(
    st.integers(0, 100_000), st.integers(1, 80), st.integers(1, 12), st.integers(1, 6),
    st.sampled_from(SPECS), st.sampled_from([EXACT, LIST_MAJOR]),
)  # fmt: skip
def test_lists_from_any_number_of_shards_are_those_of_the_whole_matrix(
    seed: int, n: int, k: int, shards: int, kind: ListSpec, engine: EngineSpec
) -> None:
    rng = np.random.default_rng(seed)
    spec = replace(kind, k=k, engine=engine)
    state = drawn(rng, n, int(rng.integers(1, min(n, 7) + 1)), spec)
    users = shoppers(rng, state, 5)
    notes = found_for(state, users, spec, shards)
    whole = block_lists(state, users, spec)
    watched = Watched(state, engine)
    made = block_lists(state, users, spec, Foreseen(watched, pa.concat_tables(notes), shards))
    assert made.equals(whole)
    # Whatever is lost on the way: the lists stay.
    kept = [table for table in notes if rng.random() < 0.5]
    some = pa.concat_tables([notes[0][:0], *kept])
    assert block_lists(state, users, spec, Foreseen(watched, some, shards)).equals(whole)


@pytest.mark.parametrize("engine", [EXACT, EngineSpec("list_major", 200)])
def test_what_was_searched_beforehand_is_not_searched_again(engine: EngineSpec) -> None:
    rng = np.random.default_rng(3)
    rows = unit(rng, 400, 6)
    state = replace(drawn(rng, 400, 6, SPECS[0]), vectors=rows)
    users = shoppers(rng, state, 9)
    for kind in (*SPECS[:5], SPECS[6]):
        spec = replace(kind, k=5, engine=engine)
        state = replace(state, promoted=rng.random((len(spec.rerank.shares), 400)) < 0.5)
        watched = Watched(state, engine)
        notes = pa.concat_tables(found_for(state, users, spec, 3))
        block_lists(state, users, spec, Foreseen(watched, notes, 3))
        assert watched.asked == 0
        first_candidates(state, users, replace(spec, k=6), Foreseen(watched, notes, 3))
        assert watched.asked > 0


@settings(max_examples=60)
@given(st.integers(0, 100_000), st.integers(1, 90), st.integers(1, 12), st.integers(2, 6))
def test_neighbours_from_shards_are_those_of_the_whole_matrix(
    seed: int, n: int, k: int, shards: int
) -> None:
    rng = np.random.default_rng(seed)
    state = drawn(rng, n, min(n, 5), SPECS[0])
    for engine in (EXACT, LIST_MAJOR):
        asked = Listener()
        nearest_items(state, np.arange(n), k, asked)
        notes = noted(state, asked, engine, shards)
        foreseen = Foreseen(open_engine(engine, state), pa.concat_tables(notes), shards)
        whole = neighbours(state, np.arange(n), k, open_engine(engine, state))
        assert neighbours(state, np.arange(n), k, foreseen).equals(whole)


def test_a_question_is_told_by_its_vector_its_depth_and_all_that_hides_items() -> None:
    queries = np.repeat(unit(np.random.default_rng(0), 1, 6), 5, axis=0)
    queries[4] += np.float32(1e-7)
    masks = Masks(
        np.array([1, 2]), np.array([0, 0, 1, 1, 2, 2]),
        np.array([[True] * 3, [True, True, False]]), np.array([0, 0, 1, 0, 0]),
    )  # fmt: skip
    asked = questions(queries, 2, masks)
    assert len({*asked, *questions(queries, 3, masks)}) == 10
    assert questions(queries[[3, 1]], 2, masks.of(np.array([3, 1]))) == [asked[3], asked[1]]


def test_scann_keeps_its_whole_index_in_every_process_so_it_has_no_shards() -> None:
    with pytest.raises(ConfigError, match="scann keeps its whole index"):
        load_config(None, ["topk.engine=scann", "topk.shards=2"])

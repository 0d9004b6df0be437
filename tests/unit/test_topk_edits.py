"""Edits in words: what the arithmetic promises, and what it does to real captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_topk_reasons import Said, described_shop, embedded
from tests.unit.topk_pieces import unit
from vlm4rec_spark.errors import Vlm4RecError
from vlm4rec_spark.topk.edits import NO_EDIT, Edit

Vectors = npt.NDArray[np.float32]


@given(st.integers(0, 10_000), st.floats(0.05, 2.0))
def test_more_comes_nearer_less_goes_away_and_both_undo_each_other(
    seed: int, strength: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors, phrases = unit(rng, 4, 8), dict(zip("ab", unit(rng, 2, 8), strict=True))

    def encode(texts: Sequence[str]) -> Vectors:
        return np.array([phrases[text] for text in texts])

    more = Edit(more=("a",), strength=strength).applied(vectors, encode)
    less = Edit(less=("a",), strength=strength).applied(vectors, encode)
    for edited in (more, less):
        np.testing.assert_allclose(np.linalg.norm(edited, axis=1), 1, atol=1e-6)
    near, before, far = (rows @ phrases["a"] for rows in (more, vectors, less))
    assert (near >= before - 1e-6).all()
    assert (far <= before + 1e-6).all()
    undone = Edit(("a",), ("a",), strength).applied(vectors, encode)
    np.testing.assert_allclose(undone, vectors, atol=1e-6)
    assert NO_EDIT.applied(vectors, encode) is vectors


def test_a_query_that_says_just_what_is_not_wanted_is_told_so() -> None:
    def encode(texts: Sequence[str]) -> Vectors:
        return np.tile(np.eye(1, 4, dtype=np.float32), (len(texts), 1))

    with pytest.raises(Vlm4RecError, match="Nothing is left without florals"):
        Edit(less=("florals",), strength=1.0).applied(encode(["florals"]), encode)


def test_more_linen_and_less_florals_change_what_real_captions_are_found() -> None:
    state, said = described_shop(400)
    queries = ("A dress for the office.", "A classic shirt.", "Something for a garden party.")

    def share(edit: Edit, attribute: str, value: str) -> float:
        edited = edit.applied(embedded(list(queries)), lambda texts: embedded(list(texts)))
        best = np.argsort(-(edited @ state.vectors.T), axis=1)[:, :20]
        found: list[Said] = [said[row] for row in best.ravel()]
        return float(np.mean([item[attribute] == value for item in found]))

    both = Edit(more=("linen",), less=("florals",))
    assert share(both, "material", "linen") > 1.5 * share(NO_EDIT, "material", "linen") > 0
    assert share(both, "pattern", "floral") < 0.6 * share(NO_EDIT, "pattern", "floral")

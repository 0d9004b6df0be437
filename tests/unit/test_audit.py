"""The audit's arithmetic: neighbours, agreement with chance and oracle, suspects, words."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, squareform

from vlm4rec_spark.audit import suspects, words
from vlm4rec_spark.audit.neighbours import (
    NONE,
    agreement,
    distance_correlation,
    nearest,
    overlap,
    times_listed,
)
from vlm4rec_spark.testing import unit_vectors


def test_neighbours_are_those_of_a_full_sort_and_never_oneself() -> None:
    vectors = unit_vectors(80, 6)
    rows = np.array([3, 17, 79])
    wanted = np.argsort(cdist(vectors[rows], vectors, "cosine"), axis=1)[:, 1:6]
    assert nearest(vectors, rows, 5).tolist() == wanted.tolist()


def test_an_item_without_a_vector_has_no_neighbours_and_is_nobodys() -> None:
    vectors = unit_vectors(5, 4)
    vectors[2] = np.nan
    found = nearest(vectors, np.arange(5), 10)
    assert (found[2] == NONE).all()
    assert 2 not in found
    assert (found[0] != NONE).sum() == 3


def test_the_same_neighbours_overlap_fully_and_none_to_compare_is_no_number() -> None:
    left = np.array([[1, 2], [1, 2], [NONE, NONE]])
    right = np.array([[2, 1], [3, 2], [1, 2]])
    found = overlap(left, right)
    assert found[:2].tolist() == [1.0, 0.5]
    assert np.isnan(found[2])


def test_agreement_of_random_neighbours_is_chance_and_of_perfect_ones_the_oracle() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 400)
    rows = np.arange(400)
    at_random = np.stack([rng.choice(np.delete(rows, row), 8, replace=False) for row in rows])
    found, chance, best = agreement(at_random, rows, codes)
    assert found == pytest.approx(chance, abs=0.03)
    assert best == 1.0
    same = np.stack([rng.choice(rows[(codes == codes[r]) & (rows != r)], 8) for r in rows])
    assert agreement(same, rows, codes)[0] == 1.0


def test_the_oracle_cannot_list_more_equal_items_than_there_are() -> None:
    codes = np.array([0, 0, 1, 1, 1])
    around = np.array([[1, 2, 3, 4]])
    found, chance, best = agreement(around, np.array([0]), codes)
    assert (found, chance, best) == (0.25, 0.25, 0.25)


def test_items_without_a_value_are_neither_asked_nor_counted() -> None:
    codes = np.array([0, -1, 0, 1])
    found, _, _ = agreement(np.array([[1, 2, 3], [0, 2, 3]]), np.array([0, 1]), codes)
    assert found == 0.5


def test_distance_correlation_is_spearmans_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    tags = rng.random((60, 12)) < 0.4
    tags[:, 0] = True
    raw = tags + 0.7 * rng.standard_normal((60, 12))
    vectors = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    by_vector = squareform(cdist(vectors, vectors, "cosine"), checks=False)
    by_tags = squareform(cdist(tags, tags, "jaccard"), checks=False)
    wanted = stats.spearmanr(by_vector, by_tags).statistic
    assert distance_correlation(vectors, tags, 0) == pytest.approx(wanted, abs=0.03)


def test_k_occurrences_count_every_mention() -> None:
    assert times_listed(np.array([[1, 2], [1, NONE]]), 4).tolist() == [0, 2, 1, 0]


def test_a_copy_is_told_once_and_a_variant_not_at_all() -> None:
    vectors = np.repeat(unit_vectors(2, 8), [3, 1], axis=0)
    rows = np.arange(4)
    around = nearest(vectors, rows, 2)
    told = list(suspects.near_copies(vectors, around, rows, ["g", "g", None, None]))
    assert sorted((s.row, s.other) for s in told) == [(0, 2), (1, 2)]


def test_a_lamp_among_dresses_is_misplaced() -> None:
    around = np.array([[1, 2, 3], [0, 2, 3]])
    told = list(suspects.misplaced(around, np.array([0, 1]), ["Lamps", "Dresses", "Dresses", None]))
    assert [s.row for s in told] == [0]
    assert "mostly Dresses" in told[0].why


def test_a_title_of_another_colour_contradicts_and_one_without_colour_does_not() -> None:
    described = [
        {"colour": "red"}, {"colour": "red"}, {"colour": "navy"}, {"colour": "navy"},
        {"colour": "sky blue"}, {"colour": "sky blue"},
    ]  # fmt: skip
    said = ["Navy dress", "Dress 12", "Navy coat", "rednavyish", "Sky blue scarf", "Red hat, navy"]
    told = list(suspects.contradictions(said, described, ["colour"]))
    assert [(s.row, s.why) for s in told] == [
        (0, "colour: the catalogue says navy, the description red"),
        (5, "colour: the catalogue says navy, red, the description sky blue"),
    ]


def test_free_text_attributes_contradict_nothing() -> None:
    free = [{"details": f"a {n} long story of buttons"} for n in range(6)]
    assert suspects.vocabulary(free) == {}


def test_entropy_is_zero_for_one_word_and_one_bit_for_two_equal_ones() -> None:
    rows: list[dict[str, str | None]] = [
        {"style": "classic", "colour": "red"},
        {"style": "classic", "colour": "navy"},
        {"style": "classic", "colour": None},
    ]
    colour, style = words.spreads(rows)
    assert (colour.entropy, style.entropy) == (1.0, 0.0)
    assert colour.not_visible == pytest.approx(1 / 3)
    assert (style.commonest, style.commonest_share) == ("classic", 1.0)


def test_a_phrase_every_text_holds_is_found_once_a_text() -> None:
    texts = ["for a night on the town", "made for a night on the beach for a night on the beach"]
    assert words.repeated_phrases(texts)[0] == ("a night on the", 1.0)


def test_words_the_catalogue_did_not_use_are_the_models_own() -> None:
    found = words.wordings(
        ["A feminine dress", "A dress"], ["Dress", "Women's dress"], ["Dresses", "Dresses"]
    )
    assert [(w.kind, w.described, w.catalogue) for w in found] == [("women", 0.5, 0.5)]
    assert words.wordings(["The chair"], ["Chair"], ["Chairs"]) == []

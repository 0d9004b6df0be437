"""Facet knobs: what they do to vectors, and to the neighbours of real captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tests.unit.test_topk_reasons import described_shop
from tests.unit.topk_pieces import WORDS, item_table
from vlm4rec_spark.config import load_config
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.topk.centring import Space
from vlm4rec_spark.topk.facets import directions, facet_matrix
from vlm4rec_spark.topk.rule_checks import check_rules
from vlm4rec_spark.topk.snapshot import load_snapshot
from vlm4rec_spark.topk.snapshot_files import write_snapshot
from vlm4rec_spark.topk.words import coded

Vectors = npt.NDArray[np.float32]


def built_shop() -> tuple[pa.MapArray, Vectors]:
    """Return items: a colour in the first three directions of the vector, a style in the rest."""
    rng = np.random.default_rng(0)
    colours, styles = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    rows = np.concatenate([np.eye(3)[colours], np.eye(3)[styles]], axis=1)
    rows += 0.01 * rng.normal(size=rows.shape)
    said = [[("colour", f"c{c}"), ("style", f"s{s}")] for c, s in zip(colours, styles, strict=True)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return pa.array(said, WORDS), rows.astype(np.float32)


def test_a_facet_at_0_is_gone_one_at_1_stays_and_one_at_2_is_twice_as_long() -> None:
    words, rows = built_shop()
    one = facet_matrix(rows, coded(words), {"colour": 1.0, "never seen": 0.0})
    np.testing.assert_allclose(one, np.eye(6), atol=1e-6)
    none = rows @ facet_matrix(rows, coded(words), {"colour": 0.0})
    assert np.ptp(none[:, :3] - none[:, :3].mean(1, keepdims=True), axis=0).max() < 0.1
    np.testing.assert_allclose(none[:, 3:], rows[:, 3:], atol=0.05)
    twice = rows @ facet_matrix(rows, coded(words), {"colour": 2.0})
    away = rows[:, :3] - rows[:, :3].mean(1, keepdims=True)
    now = twice[:, :3] - twice[:, :3].mean(1, keepdims=True)
    np.testing.assert_allclose(now, 2 * away, atol=0.1)


def test_what_is_taken_out_stays_out_whatever_else_is_turned_up() -> None:
    words, rows = built_shop()
    turned = rows @ (rows[:1].T @ rows[1:2] + np.eye(6, dtype=np.float32))  # facets now overlap
    matrix = facet_matrix(turned, coded(words), {"colour": 0.0, "style": 3.0})
    assert abs(np.linalg.det(matrix)) < 1e-5
    assert len(directions(np.zeros((0, 6)))) == len(directions(np.ones((3, 6)))) == 0


def test_knobs_change_what_real_captions_are_near_to() -> None:
    state, said = described_shop(400)

    def agreed(factors: dict[str, float], attribute: str) -> float:
        rows = state.vectors @ facet_matrix(state.vectors, state.words, factors)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        near = rows @ rows.T
        np.fill_diagonal(near, -2)
        values = np.array([item[attribute] for item in said])
        return float((values[np.argsort(-near, axis=1)[:, :10]] == values[:, None]).mean())

    knobs = {"occasion": 2.0, "colour": 0.0}
    assert agreed({}, "colour") > 0.5
    assert agreed(knobs, "colour") < 0.25, "of six colours a sixth agrees by chance"
    assert agreed({}, "occasion") < 0.8
    assert agreed(knobs, "occasion") > 0.95


@pytest.mark.parametrize("kind", ["plain", "centred", "whitened"])
def test_a_text_is_placed_where_an_item_with_that_text_is(tmp_path: Path, kind: str) -> None:
    words, rows = built_shop()
    items = item_table(200).set_column(7, "words", words)
    space = Space(kind, (("colour", 0.0), ("style", 2.0)))
    write_snapshot(tmp_path / "snapshot-f", items, rows, "e@1", space=space)
    state = load_snapshot(str(tmp_path / "snapshot-f"))
    order = state.find(items["item_id"].combine_chunks())
    np.testing.assert_allclose(state.placed(rows), state.vectors[order], atol=1e-5)


def test_a_facet_that_no_attribute_file_asks_for_is_refused_before_any_work() -> None:
    config = load_config("demo", ["profiles.facets={ocasion: 2, room: 0}"])
    with pytest.raises(ConfigError, match="unknown attribute 'ocasion'; did you mean 'occasion'"):
        check_rules(config)
    check_rules(load_config("demo", ["profiles.facets={occasion: 2, room: 0}"]))

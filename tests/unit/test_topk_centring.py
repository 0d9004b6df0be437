"""Centred vectors: what all items share counts nothing, and every text is placed the same way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.topk_pieces import item_table, unit
from vlm4rec_spark.topk.centring import SHRINKAGE, Space, mean_vector, whitening, without_mean
from vlm4rec_spark.topk.snapshot import load_snapshot
from vlm4rec_spark.topk.snapshot_files import write_snapshot


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 8))
def test_centred_rows_have_length_one_and_point_from_the_mean_to_the_item(
    seed: int, n: int, d: int
) -> None:
    rows = unit(np.random.default_rng(seed), n, d)
    centre = mean_vector(rows)
    np.testing.assert_allclose(centre, rows.astype(float).mean(0), atol=1e-6)
    moved = without_mean(rows, centre)
    norms = np.linalg.norm(moved, axis=1)
    assert ((np.abs(norms - 1) < 1e-5) | (norms == 0)).all()
    away = rows.astype(float) - centre
    np.testing.assert_allclose(moved * np.linalg.norm(away, axis=1)[:, None], away, atol=1e-5)


def test_what_all_items_share_no_longer_makes_them_alike() -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.full((50, 1), 5.0), rng.normal(size=(50, 6))], axis=1)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    moved = without_mean(rows, mean_vector(rows))
    assert (rows @ rows.T).mean() > 0.7
    assert abs((moved @ moved.T).mean()) < 0.1


def test_the_mean_itself_says_nothing_and_a_row_of_nan_stays_one() -> None:
    rows = np.array([[1, 0], [1, 0], [np.nan, np.nan]], np.float32)
    centre = mean_vector(rows)
    assert centre.tolist() == [1.0, 0.0]
    moved = without_mean(rows, centre)
    assert moved[:2].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert np.isnan(moved[2]).all()


def test_a_centred_snapshot_places_a_text_where_an_item_with_that_text_is(tmp_path: Path) -> None:
    rows = unit(np.random.default_rng(3), 9, 4)
    write_snapshot(tmp_path / "snapshot-c", item_table(9), rows, "e@1", space=Space("centred"))
    write_snapshot(tmp_path / "snapshot-p", item_table(9), rows, "e@1")
    centred, plain = (load_snapshot(str(tmp_path / f"snapshot-{x}")) for x in "cp")
    assert centred.centre == pytest.approx(rows.mean(0), abs=1e-6)
    np.testing.assert_allclose(centred.vectors, without_mean(rows, mean_vector(rows)), atol=1e-7)
    np.testing.assert_array_equal(centred.placed(rows), centred.vectors)
    assert plain.centre is None
    np.testing.assert_array_equal(plain.placed(rows), plain.vectors)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 6))
def test_whitened_rows_vary_alike_in_all_directions_and_do_not_depend_on_the_basis(
    seed: int, n: int, d: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = unit(rng, n, d)
    centre = mean_vector(rows)
    matrix = whitening(rows, centre).astype(float)
    away = rows.astype(float) - centre
    covariance = away.T @ away / n
    even = np.trace(covariance) / d
    if even < 1e-9:
        return
    mixed = (1 - SHRINKAGE) * covariance / even + SHRINKAGE * np.eye(d)
    np.testing.assert_allclose(matrix @ mixed @ matrix, np.eye(d), atol=1e-3)
    turned = (rows @ np.linalg.qr(rng.normal(size=(d, d)))[0]).astype(np.float32)
    again = mean_vector(turned)
    left = without_mean(rows, centre, whitening(rows, centre))
    right = without_mean(turned, again, whitening(turned, again))
    np.testing.assert_allclose(left @ left.T, right @ right.T, atol=1e-3)


def test_a_whitened_snapshot_places_a_text_where_an_item_with_that_text_is(tmp_path: Path) -> None:
    rows = unit(np.random.default_rng(3), 9, 4)
    write_snapshot(tmp_path / "snapshot-w", item_table(9), rows, "e@1", space=Space("whitened"))
    state = load_snapshot(str(tmp_path / "snapshot-w"))
    assert state.whitening is not None
    np.testing.assert_allclose(state.placed(rows), state.vectors, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(state.vectors, axis=1), 1, atol=1e-6)

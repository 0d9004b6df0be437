"""The pieces for users' tests."""

from __future__ import annotations

import numpy as np

from vlm4rec_spark import testing
from vlm4rec_spark.catalog.images import Limits, inspect


def test_the_catalogue_brings_real_pictures() -> None:
    rows = testing.catalog(5, side=96).to_pylist()
    assert [row["item_id"] for row in rows] == [testing.item_id(n) for n in range(5)]
    found = [inspect(row["image"], Limits()) for row in rows]
    assert {(picture.status, picture.width) for picture in found} == {("ok", 96)}
    categories = [product.kind.category for product in testing.products(5)]
    assert [row["category"] for row in rows] == categories


def test_the_catalogue_is_the_same_every_time_and_grows_by_appending() -> None:
    small, large = testing.catalog(3, side=64), testing.catalog(4, side=64)
    assert large.slice(0, 3).equals(small)


def test_the_checkerboard_leaves_out_what_it_hides() -> None:
    rows = testing.checkerboard(users=6, items=12, hidden=1).to_pylist()
    taken = {(row["user_id"], row["item_id"]) for row in rows}
    for user in range(6):
        own = {testing.item_id(n) for n in range(user % 2, 12, 2)}
        seen = {item for who, item in taken if who == testing.user_id(user)}
        assert own - seen == testing.checkerboard_hidden(user, 12, 1)
        assert len(own - seen) == 1


def test_unit_vectors_have_length_one() -> None:
    vectors = testing.unit_vectors(7, 5)
    assert vectors.shape == (7, 5)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)

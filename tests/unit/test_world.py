"""The world on disk: complete, the same every time, written once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vlm4rec_spark.catalog.images import Limits, inspect
from vlm4rec_spark.demo.products import sample_product
from vlm4rec_spark.demo.shop import ShopConfig
from vlm4rec_spark.demo.truth import true_attributes
from vlm4rec_spark.demo.world import World, write_world

CONFIG = ShopConfig(items=60, users=40, broken_share=0.07, duplicate_share=0.05, max_side=260)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"), CONFIG)


def _files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_pictures_are_whole_but_for_those_the_truth_calls_broken(world: World) -> None:
    items = pq.read_table(world.items).to_pylist()
    truth = {row["item_id"]: row for row in pq.read_table(world.truth).to_pylist()}
    broken = 0
    for item in items:
        path = world.directory / item["image"]
        is_whole = path.exists() and inspect(path.read_bytes(), Limits()).status == "ok"
        assert is_whole == (truth[item["item_id"]]["broken"] is None)
        broken += not is_whole
    assert broken == 4


def test_some_items_have_a_second_photo_that_shows_something_else(world: World) -> None:
    items = pq.read_table(world.items).to_pylist()
    second = [item for item in items if item["more_images"]]
    assert 0.1 * len(items) < len(second) < 0.5 * len(items)
    for item in second:
        (name,) = item["more_images"]
        content = (world.directory / name).read_bytes()
        assert inspect(content, Limits()).status == "ok"
        first = world.directory / item["image"]
        assert not first.exists() or first.read_bytes() != content


def test_duplicates_are_byte_equal(world: World) -> None:
    images = {row["item_id"]: row["image"] for row in pq.read_table(world.items).to_pylist()}
    rows = [row for row in pq.read_table(world.truth).to_pylist() if row["duplicate_of"]]
    assert len(rows) == 3
    for row in rows:
        first, second = (images[row[name]] for name in ("item_id", "duplicate_of"))
        assert first != second
        assert (world.directory / first).read_bytes() == (world.directory / second).read_bytes()


def test_the_truth_is_apart_and_says_what_a_view_hides(world: World) -> None:
    assert world.truth.parent != world.items.parent
    assert not {"view", "style", "visible"} & set(pq.read_schema(world.items).names)
    for row in pq.read_table(world.truth).to_pylist():
        visible = dict(row["visible"])
        assert (visible["type"] == row["type"]) == (row["view"] != "close-up")
        assert (visible["colour"] == row["colour"]) == (row["view"] != "dark")
        assert row["description"]


def test_the_truth_names_every_attribute_a_prompt_may_ask(world: World) -> None:
    asked = set(true_attributes(sample_product(np.random.default_rng(0))))
    for row in pq.read_table(world.truth).to_pylist():
        assert set(dict(row["visible"])) == asked


def test_the_same_configuration_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    assert _files(write_world(tmp_path, CONFIG).directory) == _files(world.directory)


def test_a_written_world_is_left_alone_and_another_one_replaces_it(tmp_path: Path) -> None:
    small = ShopConfig(items=8, users=5, max_side=180)
    world = write_world(tmp_path, small)
    changed = world.items.stat().st_mtime_ns
    write_world(str(tmp_path), small)
    assert world.items.stat().st_mtime_ns == changed
    write_world(tmp_path, ShopConfig(items=6, users=5, max_side=180))
    assert pq.read_table(world.items).num_rows == 6
    names = {path.name.partition(".")[0].removesuffix("-2") for path in world.photos.iterdir()}
    assert len(names) <= 6


def test_half_a_world_is_written_again(tmp_path: Path) -> None:
    small = ShopConfig(items=8, users=5, max_side=180)
    world = write_world(tmp_path, small)
    before = _files(tmp_path)
    world.marker.unlink()
    world.items.unlink()
    write_world(tmp_path, small)
    assert _files(tmp_path) == before

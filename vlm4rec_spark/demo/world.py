"""Write the synthetic shop as files: catalogue, photos, interactions, and the truth apart."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlm4rec_spark.demo.oracle import oracle_table
from vlm4rec_spark.demo.photos import Shot, broken, plan_shot, take
from vlm4rec_spark.demo.settings import ShopConfig
from vlm4rec_spark.demo.shop import Item, Shop, make_shop
from vlm4rec_spark.demo.shoppers import SCHEMA, simulate
from vlm4rec_spark.demo.truth import true_attributes, true_description

logger = logging.getLogger(__name__)

PHOTOS = "photos"
FORMAT_VERSION = "3"
"""Raise it when the same configuration gives other files: marked folders are written anew."""
MOMENT = pa.timestamp("us", tz="UTC")
ITEM_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("category", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("price", pa.float64()),
        pa.field("stock", pa.int64()),
        pa.field("available", pa.bool_()),
        pa.field("first_seen", MOMENT),
        pa.field("variant_group", pa.string()),
        pa.field("image", pa.string()),
        pa.field("more_images", pa.list_(pa.string())),
    ]
)
PRODUCT_FIELDS = ("type", "colour", "second_colour", "pattern", "material", "cut", "finish")
TRUTH_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("view", pa.string()),
        pa.field("broken", pa.string()),
        pa.field("duplicate_of", pa.string()),
        *(pa.field(name, pa.string()) for name in PRODUCT_FIELDS),
        pa.field("style", pa.string()),
        pa.field("occasion", pa.string()),
        pa.field("room", pa.string()),
        pa.field("visible", pa.map_(pa.string(), pa.string())),
        pa.field("description", pa.string()),
    ]
)
"""`visible`: the right answer to every attribute a prompt may ask about the first photo, 'not
visible' where its view hides it; the columns before it say what the product is, seen or not."""


@dataclass(frozen=True)
class World:
    """Where the files lie. `items` names pictures relative to `directory`."""

    directory: Path

    @property
    def items(self) -> Path:
        """The catalogue, Parquet, with the columns of `ITEM_SCHEMA`."""
        return self.directory / "items.parquet"

    @property
    def interactions(self) -> Path:
        """What shoppers did, Parquet, with the columns of `shoppers.SCHEMA`."""
        return self.directory / "interactions.parquet"

    @property
    def photos(self) -> Path:
        """The folder of pictures."""
        return self.directory / PHOTOS

    @property
    def truth(self) -> Path:
        """What the items are, Parquet, in a folder of its own: for evaluation and tests only."""
        return self.directory / "truth" / "truth.parquet"

    @property
    def oracle(self) -> Path:
        """Vectors of what the items are, Parquet, beside the truth: an arm of the evaluation."""
        return self.directory / "truth" / "oracle.parquet"

    @property
    def marker(self) -> Path:
        """Written last: says which configuration the folder holds."""
        return self.directory / "world.txt"


def write_world(directory: str | Path, config: ShopConfig | None = None) -> World:
    """Write the shop into `directory`, unless it holds this very shop already.

    Files of a shop written before, or half, are replaced; other files are left alone. The same
    configuration gives the same bytes (with the same versions of Pillow, numpy and pyarrow).

    Raises:
        OSError: the folder cannot be written.
    """
    world, config = World(Path(directory)), config or ShopConfig()
    mark = f"synthetic shop, format {FORMAT_VERSION}\n{config!r}\n"
    if world.marker.is_file() and world.marker.read_text("utf-8") == mark:
        return world
    shop = make_shop(config)
    world.marker.unlink(missing_ok=True)
    world.interactions.unlink(missing_ok=True)
    shutil.rmtree(world.photos, ignore_errors=True)
    world.photos.mkdir(parents=True)
    world.truth.parent.mkdir(exist_ok=True)
    for item in shop.items:
        _write_photos(world, item, config)
    pq.write_table(items_table(shop), world.items)
    pq.write_table(truth_table(shop), world.truth)
    pq.write_table(oracle_table(shop), world.oracle)
    with pq.ParquetWriter(world.interactions, SCHEMA) as writer:
        for rows in simulate(shop):
            writer.write_table(rows)
    world.marker.write_text(mark, "utf-8")
    logger.info("wrote a synthetic shop of %d items to %s", len(shop.items), world.directory)
    return world


def photo_files(item: Item, config: ShopConfig) -> dict[str, bytes | None]:
    """Return an item's photos, first one first: path below the world's folder -> bytes of the file.

    None stands for a file that is missing.
    """
    first, *more = _photos(item, config)
    whole = take(item.product, first.view, first.seed, first.shot)
    files = {first.path: whole if item.broken is None else broken(item.broken, whole)}
    return files | {p.path: take(item.product, p.view, p.seed, p.shot) for p in more}


@dataclass(frozen=True)
class _Photo:
    path: str
    view: str
    seed: int
    shot: Shot


def _photos(item: Item, config: ShopConfig) -> list[_Photo]:
    """Plan an item's photos; the picture seed decides them all, so that copies are byte-equal."""
    rng = np.random.default_rng([item.picture_seed, 3])
    views = {"": (item.view, item.picture_seed)}
    if rng.random() < config.second_photo_share:
        other = "close-up" if item.view == "clear" else "clear"
        views["-2"] = (other, int(rng.integers(2**31)))
    photos = []
    for ending, (view, seed) in views.items():
        shot = plan_shot(seed, config.max_side)
        path = f"{PHOTOS}/{item.item_id}{ending}.{shot.extension}"
        photos.append(_Photo(path, view, seed, shot))
    return photos


def items_table(shop: Shop) -> pa.Table:
    """Return the catalogue as the shop has it, with the columns of `ITEM_SCHEMA`."""
    rows = []
    for item in shop.items:
        first, *more = (photo.path for photo in _photos(item, shop.config))
        row = {
            "item_id": item.item_id,
            "title": item.title,
            "category": item.product.kind.category,
            "brand": item.brand,
            "price": item.price,
            "stock": item.stock,
            "available": item.stock > 0,
            "first_seen": item.first_seen(shop.config),
            "variant_group": item.variant_group,
            "image": first,
            "more_images": more,
        }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)


def truth_table(shop: Shop) -> pa.Table:
    """Return what the items really are, with the columns of `TRUTH_SCHEMA`."""
    return pa.Table.from_pylist(list(_truth(shop)), schema=TRUTH_SCHEMA)


def _truth(shop: Shop) -> Iterator[dict[str, object]]:
    for item in shop.items:
        product = item.product
        yield {
            "item_id": item.item_id,
            "view": item.view,
            "broken": item.broken,
            "duplicate_of": item.duplicate_of,
            **{name: getattr(product, name) for name in PRODUCT_FIELDS},
            "style": product.style,
            "occasion": product.occasion,
            "room": product.room,
            "visible": list(true_attributes(product, item.view).items()),
            "description": true_description(product, item.view),
        }


def _write_photos(world: World, item: Item, config: ShopConfig) -> None:
    for path, content in photo_files(item, config).items():
        if content is not None:
            (world.directory / path).write_bytes(content)

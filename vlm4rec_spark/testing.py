"""Pieces for tests, ours and yours: a small catalogue with real pictures, and interactions.

    from vlm4rec_spark import testing

    items = testing.to_frame(spark, testing.catalog(12))
    interactions = testing.to_frame(spark, testing.checkerboard(users=6, items=12))

Everything is synthetic and the same every time. `vlm4rec_spark.demo.world.write_world` makes a
whole shop of any size.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.demo.photos import Shot, take
from vlm4rec_spark.demo.products import Product, sample_product
from vlm4rec_spark.demo.titles import title

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

START = datetime(2025, 5, 1, tzinfo=timezone.utc)
MOMENT = pa.timestamp("us", tz="UTC")
CATALOG_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("category", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("price", pa.float64()),
        pa.field("available", pa.bool_()),
        pa.field("image", pa.binary()),
    ]
)
INTERACTIONS_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("timestamp", MOMENT, nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
    ]
)


def item_id(number: int) -> str:
    """Return the id of the item with this number, from 0."""
    return f"item-{number:05d}"


def user_id(number: int) -> str:
    """Return the id of the user with this number, from 0."""
    return f"user-{number:05d}"


def products(n_items: int, seed: int = 0) -> list[Product]:
    """Return what the items of `catalog(n_items, seed)` really are, in order."""
    return [sample_product(np.random.default_rng([seed, n])) for n in range(n_items)]


def picture(
    product: Product,
    seed: int = 0,
    *,
    view: str = "clear",
    side: int = 192,
    kind: str = "JPEG",
    orientation: int = 1,
) -> bytes:
    """Return a square picture of a product as the bytes of a file.

    Args:
        product: what to draw; `products` or `demo.products.sample_product` give one.
        seed: decides background, light, position and grain.
        view: 'clear', 'close-up' or 'dark' (see `demo.truth`).
        side: pixels.
        kind: 'JPEG', 'PNG' or 'WEBP'.
        orientation: EXIF orientation 1, 3, 6 or 8, JPEG only; viewers show the picture upright.
    """
    return take(product, view, seed, Shot(side, side, kind, 88, orientation))


def catalog(n_items: int, seed: int = 0, *, side: int = 192) -> pa.Table:
    """Return a catalogue with pictures inside, columns as in `CATALOG_SCHEMA`."""
    rows = []
    for n, product in enumerate(products(n_items, seed)):
        rng = np.random.default_rng([seed, n, 1])
        row = {
            "item_id": item_id(n),
            "title": title(product, rng),
            "category": product.kind.category,
            "brand": ("Basta", "Grove", "Halden")[n % 3],
            "price": round(float(rng.uniform(20, 200)), 2),
            "available": True,
            "image": picture(product, n, side=side),
        }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=CATALOG_SCHEMA)


def checkerboard(
    users: int, items: int, *, event_type: str = "purchase", hidden: int = 0
) -> pa.Table:
    """Return interactions with an obvious right answer: even users take even items, odd odd ones.

    Args:
        users: number of users.
        items: number of items.
        event_type: what every row says.
        hidden: of each user, this many of the items they would take are left out, in turn from
            user to user; a good list names exactly those (`checkerboard_hidden`).
    """
    rows = []
    for user in range(users):
        left_out = checkerboard_hidden(user, items, hidden)
        for n in range(user % 2, items, 2):
            if item_id(n) in left_out:
                continue
            moment = START + timedelta(days=n % 30, minutes=user)
            row = {"user_id": user_id(user), "item_id": item_id(n), "timestamp": moment}
            rows.append({**row, "event_type": event_type})
    return pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)


def checkerboard_hidden(user: int, items: int, hidden: int) -> frozenset[str]:
    """Return the items that `checkerboard` leaves out for a user."""
    own = range(user % 2, items, 2)
    return frozenset(item_id(own[(user // 2 + k) % len(own)]) for k in range(hidden) if own)


def unit_vectors(n_vectors: int, n_dimensions: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return random vectors of length 1, (n_vectors, n_dimensions)."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n_vectors, n_dimensions))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)


def to_frame(spark: SparkSession, table: pa.Table) -> DataFrame:
    """Return an Arrow table as a data frame, on Spark Classic and Connect alike."""
    return spark.createDataFrame(table)

"""A shop as the catalogue stage leaves it, for tests of the describe stage with the fake engine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from vlm4rec_spark import delta
from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions.job import run
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.tables import DESCRIPTIONS, DESCRIPTIONS_LOG, IMAGES, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

START, DAY = datetime(2026, 1, 1, tzinfo=timezone.utc), timedelta(days=1)


@dataclass(frozen=True)
class Run:
    """What a run of the stage counted, and item -> row of its description in force after it."""

    counts: dict[str, int]
    rows: dict[str, Any]

    def of(self, *names: str) -> tuple[int, ...]:
        """Return counts by their names."""
        return tuple(self.counts[name] for name in names)


class Shop:
    """A few items with one picture each, as the catalogue stage leaves them."""

    def __init__(self, spark: SparkSession, names: TableNames, folder: Path) -> None:
        self.spark, self.names, self.folder = spark, names, folder
        self.runs = 0
        self.hashes: dict[str, int] = {}
        """Perceptual hashes of items' pictures; of the others it is not known."""
        self.days: dict[str, int] = {}
        """Days on which items were first seen, where it is not the day after the one before."""

    def show(self, **seeds: int | None) -> None:
        """Set the picture of each item by a seed; None is an item without a picture.

        Each item was first seen a day after the one before, unless `days` says otherwise.
        """
        items: list[dict[str, Any]] = [
            {"item_id": i, "title": f"item {i}", "available": True,
             "first_seen": START + DAY * self.days.get(i, n)}
            for n, i in enumerate(seeds)
        ]  # fmt: skip
        images = [self._image(i, seed) for i, seed in seeds.items() if seed is not None]
        delta.create_table(self.spark, ITEMS, self.names)
        known = {
            row["item_id"]: row["request_key"]
            for row in delta.read(self.spark, ITEMS, self.names).collect()
        }
        for item in items:
            item["request_key"] = known.get(str(item["item_id"]))
        for spec, rows in ((ITEMS, items), (IMAGES, images)):
            table = pa.Table.from_pylist(rows, schema=spec.arrow_schema())
            delta.merge_on_key(self.spark, self.spark.createDataFrame(table), spec, self.names)

    def _image(self, item_id: str, seed: int) -> dict[str, Any]:
        path = self.folder / f"{item_id}-{seed}.png"
        pixels = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        where = {"item_id": item_id, "position": 0, "uri": str(path)}
        if item_id in self.hashes:
            where["phash"] = f"{self.hashes[item_id]:016x}"
        return where | {"sha256": sha256, "width": 12, "height": 12, "status": "ok"}

    def describe(self, *settings: str) -> Run:
        """Run the stage."""
        return Run(dict(run(self.context(*settings)).counts), self.rows())

    def context(self, *settings: str) -> RunContext:
        self.runs += 1
        given = ["describe.engine.kind=fake", "describe.attributes=fashion", *settings]
        return RunContext(self.spark, load_config(None, given), self.names, f"run-{self.runs}")

    def rows(self) -> dict[str, Any]:
        """Return item -> row of its description in force."""
        items = delta.read(self.spark, ITEMS, self.names).select("item_id", "request_key")
        found = delta.read(self.spark, DESCRIPTIONS, self.names)
        joined = items.join(found, "request_key").collect()
        return {row["item_id"]: row for row in joined}

    def break_picture(self, item_id: str) -> None:
        """Take the file of a picture away."""
        (found,) = self.folder.glob(f"{item_id}-*.png")
        found.rename(found.with_suffix(".away"))

    def mend_picture(self, item_id: str) -> None:
        """Bring the file back."""
        (found,) = self.folder.glob(f"{item_id}-*.away")
        found.rename(found.with_suffix(".png"))

    def versions(self) -> list[int]:
        """Return the version of each table: it grows with each commit."""
        tables = (ITEMS, DESCRIPTIONS_LOG, DESCRIPTIONS)
        names = [self.names.qualified(table) for table in tables]
        return [
            self.spark.sql(f"DESCRIBE HISTORY {name} LIMIT 1").collect()[0]["version"]
            for name in names
        ]

"""A small shop with a planted truth, for tests of the evaluation and the audit.

Three kinds of items; captions say the kind, titles say nothing. Every user likes one kind. The
last items appear after the cut, so that nobody has had them: only words can find them.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tests.shop_log import log_settings, write_log
from vlm4rec_spark import delta, testing
from vlm4rec_spark.config import load_config
from vlm4rec_spark.embeddings.encoders import encoder_spec
from vlm4rec_spark.embeddings.visual import visual_spec
from vlm4rec_spark.evaluation.spaces_job import item_space_texts
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.tables import DESCRIPTIONS, EMBEDDINGS, IMAGES, ITEMS

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.tables import TableSpec

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
CUT_DAY = 80
KINDS = ("romantic silk", "sporty knit", "rustic wood")
N_ITEMS, N_COLD, N_USERS = 60, 15, 90
Row = dict[str, object]


def kind_of(item: int) -> int:
    """Return the kind of an item or user."""
    return item % len(KINDS)


def item_id(item: int) -> str:
    """Return the id of an item."""
    return f"i{item:02d}"


def log_rows(seed: int = 0) -> list[Row]:
    """Return views of a user's kind (one in six of another), and what they turned to later."""
    rng = np.random.default_rng(seed)
    warm = list(range(N_ITEMS - N_COLD))
    rows: list[Row] = []
    for user in range(N_USERS):
        own = [i for i in warm if kind_of(i) == kind_of(user)]
        had = [*rng.choice(own, 5, replace=False), rng.choice(warm)]
        rows += [event(user, int(i), float(rng.uniform(1, CUT_DAY - 1))) for i in had]
        later = rng.choice([i for i in range(N_ITEMS) if kind_of(i) == kind_of(user)], 3, False)
        rows += [event(user, int(i), float(rng.uniform(CUT_DAY, 100))) for i in later]
    return rows


def event(user: int, item: int, day: float) -> Row:
    return {
        "user_id": f"u{user:03d}",
        "item_id": item_id(item),
        "timestamp": START + timedelta(days=day),
        "event_type": "view",
    }


def write(spark: SparkSession, names: TableNames, spec: TableSpec, rows: list[Row]) -> None:
    """Merge plain rows into a table."""
    frame = spark.createDataFrame(pa.Table.from_pylist(rows, schema=spec.arrow_schema()))
    delta.merge_on_key(spark, frame, spec, names)


def fill(context: RunContext, photos: Path | None = None) -> None:
    """Write the tables that the catalog job would have written, and the encoder's cache.

    With a folder for photos every item has a small one there, one in three the same.
    """
    spark, names = context.spark, context.names
    numbers = range(N_ITEMS)
    write(spark, names, ITEMS, [item_row(n) for n in numbers])
    write(spark, names, DESCRIPTIONS, [_description(n) for n in numbers])
    pictures: list[Row] = [
        {
            "item_id": item_id(n),
            "position": 0,
            "sha256": f"s{n}",
            "width": 100,
            "height": 100 + n % 2,
            "uri": str(photos / f"{kind_of(n)}.jpg") if photos else None,
            "status": "ok",
        }
        for n in numbers
    ]
    if photos:
        for kind, product in enumerate(testing.products(len(KINDS))):
            (photos / f"{kind}.jpg").write_bytes(testing.picture(product, kind))
    write(spark, names, IMAGES, pictures)
    fill_cache(context)


def fill_cache(context: RunContext) -> None:
    """Give every text of the evaluation the vector of its words, as if it had been encoded."""
    texts = item_space_texts(context).select("text", "text_sha256").distinct().collect()
    identity = encoder_spec(context.config).identity
    rows: list[Row] = [
        {"text_sha256": row["text_sha256"], "encoder": identity, "vector": vector(row["text"])}
        for row in texts
    ]
    visual = visual_spec(context.config).identity
    rows += [
        {"text_sha256": f"s{n}", "encoder": visual, "vector": vector(f"picture {n} {n % 2}")}
        for n in range(N_ITEMS)
    ]
    write(context.spark, context.names, EMBEDDINGS, rows)


def vector(text: str) -> list[float]:
    """Return a unit vector: the sum of a random vector for each word."""
    total = np.zeros(32)
    for word in text.lower().split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(32)
    return [float(x) for x in total / np.linalg.norm(total)]


def item_row(number: int) -> Row:
    return {
        "item_id": item_id(number),
        "title": f"Model {1000 + 37 * number}",
        "category": "Things" if number % 2 else "Stuff",
        "price": float(10 + number),
        "available": True,
        "first_seen": START + timedelta(days=CUT_DAY if number >= N_ITEMS - N_COLD else 0),
        "updated_at": START,
        "request_key": f"r{number}",
        "variant_group": "pair" if number in (0, 3) else None,
    }


def _description(number: int) -> Row:
    style, material = KINDS[kind_of(number)].split()
    return {
        "request_key": f"r{number}",
        "status": "ok",
        "description": f"{KINDS[kind_of(number)]} piece number {number}",
        "attributes": [
            ("style", {"value": style, "confidence": 0.9}),
            ("material", {"value": material, "confidence": 0.9}),
        ],
    }


def make_context(
    spark: SparkSession, names: TableNames, folder: Path, *settings: str, run_id: str = "run-1"
) -> RunContext:
    """Return a context over the shop's log, reports under the folder."""
    path = folder / "log"
    if not path.exists():
        write_log(path, log_rows())
    config = load_config(
        None,
        [
            *log_settings(names, folder, path),
            "sources.items.columns.first_seen=first_seen",
            "embed.model=demo",
            "evaluate.split.cut=2026-03-22T00:00:00Z",
            f"evaluate.report={folder}/report",
            f"audit.report={folder}/audit",
            "evaluate.resamples=2000",
            *settings,
        ],
    )
    return RunContext(spark, config, names, run_id)

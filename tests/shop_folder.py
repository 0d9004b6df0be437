"""A shop's tables, item matrix, pictures and log in a folder, written without Spark."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from vlm4rec_spark import testing
from vlm4rec_spark.config import Config, load_config
from vlm4rec_spark.tables import (
    DESCRIPTIONS,
    IMAGES,
    ITEM_VECTORS,
    ITEMS,
    PROFILES,
    RECOMMENDATIONS,
    TableSpec,
)
from vlm4rec_spark.topk.snapshot_files import write_snapshot

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
HOSTILE_TITLE = "<script>document.title='stolen'</script><img src=x onerror=alert(1)>"
HOSTILE_USER = "u\"><script>document.title='stolen'</script>"
N = 12
COLOURS = ("red", "blue", "green")


def write_shop(folder: Path) -> Config:
    """Write twelve items in three colours and two shoppers; return the configuration.

    Item 0 has a hostile title and description, the last one is not available and has no picture;
    shopper 'anna' likes red, the other one has a hostile id.
    """
    ids = [testing.item_id(n) for n in range(N)]
    vectors = testing.unit_vectors(N, 384)
    words = [{"colour": COLOURS[n % 3], "cut": "slim"} for n in range(N)]
    titles = [HOSTILE_TITLE, *(f"Item {n}" for n in range(1, N))]
    available = [n != N - 1 for n in range(N)]
    (folder / "pictures").mkdir(parents=True)
    for n, product in enumerate(testing.products(N - 1)):
        (folder / "pictures" / f"{n}.jpg").write_bytes(testing.picture(product, n))
    _table(folder, ITEMS, [
        {"item_id": ids[n], "title": titles[n], "available": available[n], "request_key": f"k{n}",
         "category": "Coats", "brand": "Basta", "price": 10.0 + n,
         "first_seen": NOW + timedelta(days=n), "updated_at": NOW, "attributes": []}
        for n in range(N)
    ])  # fmt: skip
    _table(folder, DESCRIPTIONS, [
        {"request_key": f"k{n}", "status": "ok",
         "description": f"A {words[n]['colour']} thing." if n else HOSTILE_TITLE,
         "attributes": [("colour", {"value": words[n]["colour"], "confidence": 0.9}),
                        ("cut", {"value": "slim"}), ("sleeves", {"value": None})]}
        for n in range(N)
    ])  # fmt: skip
    _table(folder, IMAGES, [
        {"item_id": ids[n], "position": 0, "uri": f"{n}.jpg", "status": "ok", "sha256": "x"}
        for n in range(N - 1)
    ])  # fmt: skip
    _table(folder, ITEM_VECTORS, [
        {"item_id": ids[n], "space": space, "vector": row[n].tolist(), "status": "ok"}
        for space, row in (("caption", vectors), ("title", testing.unit_vectors(N, 384, 1)))
        for n in range(N)
    ])  # fmt: skip
    users = ("anna", HOSTILE_USER)
    _table(folder, PROFILES, [
        {"user_id": user, "interest_no": 0, "vector": vectors[0].tolist(), "weight": 1.0,
         "n_events": 1, "last_event_at": NOW}
        for user in users
    ])  # fmt: skip
    _table(folder, RECOMMENDATIONS, [
        {"user_id": user, "rank": n, "item_id": ids[n], "score": 1.0 - n / 10, "arm": "profile",
         "reason": "Like 'Item 9', which you chose: red.", "shared_attributes": ["red"]}
        for user in users for n in range(1, 7)
    ])  # fmt: skip
    items = pa.table({"item_id": ids, "title": titles, "available": available,
                      "words": pa.array([list(w.items()) for w in words],
                                        pa.map_(pa.string(), pa.string()))})  # fmt: skip
    write_snapshot(folder / "index/snapshot-1", items, np.asarray(vectors), "demo@1")
    events = [
        {"customer": user, "item_id": ids[9], "timestamp": NOW, "kind": "purchase"}
        for user in users
    ]
    pq.write_table(pa.Table.from_pylist(events), folder / "log.parquet")
    return load_config(None, [
        f"tables.location={folder}/tables", "tables.schema=recs", f"images.base={folder}/pictures",
        f"topk.index_path={folder}/index", "sources.interactions.format=parquet",
        f"sources.interactions.path={folder}/log.parquet", "embed.model=demo",
        "sources.interactions.columns={user_id: customer, event_type: kind}",
    ])  # fmt: skip


def _table(folder: Path, spec: TableSpec, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=spec.arrow_schema())
    write_deltalake(str(folder / "tables/recs" / spec.name), table)

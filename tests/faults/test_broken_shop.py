"""1 % broken pictures, 0.1 % poison rows: through both stages all others land, counts are exact."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.faults import picture_server
from tests.stand_in import StandIn
from vlm4rec_spark import delta
from vlm4rec_spark.catalog import job as catalog_job
from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions import job as describe_job
from vlm4rec_spark.descriptions import specs
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.tables import DESCRIPTIONS, ENGINE_METRICS, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

pytestmark = [pytest.mark.spark, pytest.mark.delta, pytest.mark.faults]
ITEMS_IN_SHOP = 1000
ROOT = Path(__file__).parent.parent.parent


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.txt", "no picture")
    return out.getvalue()


def bomb() -> bytes:
    """Return a small PNG that says it has 20,000 x 20,000 pixels."""
    small = bytearray(saved(Image.new("1", (8, 8)), "PNG"))
    small[16:24] = (20_000).to_bytes(4, "big") * 2
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
    return bytes(small)


RED = Image.new("RGB", (32, 32), (200, 30, 30))
BROKEN = {
    "truncated.jpg": (saved(RED.resize((400, 400)), "JPEG")[:300], "unreadable"),
    "zip.png": (archive(), "not_a_picture"),
    "bomb.png": (bomb(), "too_many_pixels"),
    "animated.gif": (
        saved(RED, "GIF", save_all=True, append_images=[Image.new("RGB", (32, 32))]),
        "animated",
    ),
    "nothing.jpg": (b"", "empty"),
    "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "not_a_picture"),
}
"""Name of a file -> its bytes and the code of the error."""
ODD = {
    "cmyk.jpg": saved(RED.convert("CMYK"), "JPEG"),
    "16-bit.png": saved(Image.new("I;16", (32, 32), 40_000), "PNG"),
}
"""Unusual, but whole."""


def pictures() -> list[str]:
    """Return the file of each item: 1 % is broken, of each kind in turn, and 1 % is odd."""
    found = ["good.png"] * ITEMS_IN_SHOP
    for n in range(ITEMS_IN_SHOP // 100):
        found[100 * n + 30] = list(BROKEN)[n % len(BROKEN)]
        found[100 * n + 60] = list(ODD)[n % len(ODD)]
    return found


def write_shop(folder: Path) -> Counter[str]:
    """Write the shop, its last item poison; return how many pictures there are of each file."""
    contents = {name: content for name, (content, _) in BROKEN.items()} | ODD
    for name, content in {**contents, "good.png": saved(RED, "PNG")}.items():
        (folder / name).write_bytes(content)
    files = pictures()
    titles = [f"item {n}" for n in range(ITEMS_IN_SHOP - 1)] + [picture_server.POISON]
    rows = [
        {"item_id": f"i{n}", "title": title, "image": file}
        for n, (title, file) in enumerate(zip(titles, files, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    return Counter(files)


@pytest.fixture
def shop(
    spark: SparkSession, names: TableNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunContext:
    """Return a run over the shop, described by the stand-in."""
    environment = (("PYTHONPATH", str(ROOT)),)
    stand_in = partial(StandIn, program=picture_server.__file__, server_env=environment)
    monkeypatch.setattr(specs, "LocalSpec", stand_in)
    settings = [
        "sources.items.format=parquet",
        f"sources.items.path={tmp_path}/items.parquet",
        f"images.base={tmp_path}",
        f"topk.index_path={tmp_path}/index",
        "describe.use_title=true",
        "describe.attributes=fashion",
        "describe.slice_rows=500",
        "describe.engine.model=demo",
        "describe.engine.lease_s=8",  # samples are taken four times as often
    ]
    return RunContext(spark, load_config(None, settings), names, f"run-{os.getpid()}")


def test_all_but_the_broken_and_the_poison_land_and_every_count_is_exact(
    shop: RunContext, tmp_path: Path
) -> None:
    files = write_shop(tmp_path)
    broken: Counter[str] = Counter()
    for name, (_, code) in BROKEN.items():
        broken[f"images_failed_{code}"] += files[name]
    seen = catalog_job.run(shop).counts
    assert {k: n for k, n in seen.items() if k.startswith("images_failed_")} == broken
    assert (seen["images_ok"], seen["images_failed"]) == (990, 10)

    counts = describe_job.run(shop).counts
    assert (counts["requests"], counts["described"], counts["failed"]) == (990, 989, 1)
    assert counts["items_without_picture"] == 10
    found = delta.read(shop.spark, DESCRIPTIONS, shop.names).collect()
    assert len({row["request_key"] for row in found}) == len(found) == 990
    assert Counter((row["stage"], row["error_code"]) for row in found) == {
        (None, None): 989,
        ("generate", "poison"): 1,
    }
    items = delta.read(shop.spark, ITEMS, shop.names).where("request_key IS NULL").collect()
    assert {pictures()[int(row["item_id"][1:])] for row in items} == set(BROKEN)

    samples = delta.read(shop.spark, ENGINE_METRICS, shop.names).collect()
    assert samples
    assert all(None not in row for row in samples)
    assert {row["run_id"] for row in samples} == {shop.run_id}
    assert 0 < max(row["generated_tokens"] for row in samples) < 1000

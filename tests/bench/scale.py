"""What the catalog job itself costs for each SKU, at several sizes, with the fake engine.

    make bench-scale                      (an hour or so, most of it the million)
    make bench-scale SIZES=10000,100000
    make bench-scale SLICE_ROWS=2000      (more slices, as a larger catalogue has)

For each size a process of its own: a first small shop warms the JVM, then ingest and describe run
over a new shop, again with nothing to do, and again with one picture in a hundred changed. Every
SKU has a picture of its own, a PNG of 8 x 8 pixels in a Parquet column, so that decoding is next to
nothing; what it takes is measured apart and left out of `cpu_ms_per_sku_*`. The fake engine answers
at once: its work (drawing an answer, making log-probabilities) is in the figure. Encoding is
`make bench-embed`. CPU seconds are those of all processes; Spark has both cores of `local[2]`.
Ends with one line of JSON; figures without a size are of the largest, and `cpu_ratio` is what a SKU
costs at the largest size over what it costs at the smallest.
"""

from __future__ import annotations

import argparse
import json
import logging
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.processes import Peak, cpu_s
from vlm4rec_spark.catalog import job as catalog_job
from vlm4rec_spark.catalog.images import Limits, inspect, prepare
from vlm4rec_spark.config import load_config
from vlm4rec_spark.delta import TableNames
from vlm4rec_spark.descriptions import job as describe_job
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.session import build_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SIDE = 8
FILE_ROWS = 25_000
WARM_UP = 2_000
CATEGORIES = ("Dresses", "Shoes", "Bags", "Knitwear", "Lighting")
PNG = b"\x89PNG\r\n\x1a\n"
SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("category", pa.string()),
        ("image", pa.binary()),
    ]
)

logger = logging.getLogger("bench")


def png(pixels: bytes) -> bytes:
    """Return a grey picture of SIDE x SIDE pixels; Pillow would take ten times as long."""
    lines = b"".join(b"\0" + pixels[n : n + SIDE] for n in range(0, len(pixels), SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return PNG + b"".join(chunks)


def write_shop(folder: Path, n: int, changed: int = 0) -> None:
    """Write a catalogue of n items; the first `changed` of each hundred have other pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, n, FILE_ROWS):
        numbers = range(first, min(first + FILE_ROWS, n))
        rng = np.random.default_rng([1, first])
        pixels = rng.integers(0, 256, (len(numbers), SIDE * SIDE), dtype=np.uint8)
        other = np.array([number % 100 < changed for number in numbers])
        pixels[other] = 255 - pixels[other]
        columns = [
            [f"sku-{number:08d}" for number in numbers],
            [f"Item {number}" for number in numbers],
            [CATEGORIES[number % len(CATEGORIES)] for number in numbers],
            [png(row.tobytes()) for row in pixels],
        ]
        table = pa.Table.from_arrays([pa.array(c) for c in columns], schema=SCHEMA)
        pq.write_table(table, folder / f"{first:08d}.parquet")


@dataclass(frozen=True)
class Ran:
    """One run over a shop: CPU seconds of its stages, seconds by the clock, requests sent."""

    ingest_cpu_s: float
    describe_cpu_s: float
    seconds: float
    requests: int

    @property
    def cpu_s(self) -> float:
        """Of both stages."""
        return self.ingest_cpu_s + self.describe_cpu_s


def run(spark: SparkSession, shop: Path, schema: str, slice_rows: int) -> Ran:
    """Ingest and describe a shop."""
    settings = [
        f"tables.schema={schema}",
        "sources.items.format=parquet",
        f"sources.items.path={shop}",
        "sources.items.columns.category=category",
        "describe.engine.kind=fake",
        "describe.attributes=fashion",
        f"describe.slice_rows={slice_rows}",
    ]
    names = TableNames(None, schema)
    context = RunContext(spark, load_config(None, settings), names, f"run-{time.time():.0f}")
    started, before = time.monotonic(), cpu_s()
    catalog_job.run(context)
    between = cpu_s()
    requests = describe_job.run(context).counts["requests"]
    return Ran(between - before, cpu_s() - between, time.monotonic() - started, requests)


def decode_ms(n: int = 2000) -> float:
    """Return the CPU milliseconds that the two stages take to decode one picture."""
    rng = np.random.default_rng(7)
    pictures = [png(rng.bytes(SIDE * SIDE)) for _ in range(n)]
    started = time.process_time()
    for picture in pictures:
        inspect(picture, Limits())
        prepare(picture, 448)
    return (time.process_time() - started) / n * 1000


def one_size(n: int, folder: Path, slice_rows: int) -> dict[str, float]:
    """Run over a shop of n items, and return what that took."""
    write_shop(folder / "warm_up", WARM_UP)
    write_shop(folder / "shop", n)
    extra = {"spark.master": "local[2]", "spark.sql.shuffle.partitions": "4"}
    spark = build_session("bench-scale", extra=extra, warehouse=str(folder / "tables"))
    peak = Peak()
    run(spark, folder / "warm_up", "warm_up", slice_rows)
    with peak.watched():
        full = run(spark, folder / "shop", "shop", slice_rows)
    if full.requests != n:
        raise RuntimeError(f"{full.requests} requests for {n} items")
    rerun = run(spark, folder / "shop", "shop", slice_rows)
    write_shop(folder / "shop", n, changed=1)
    one_percent = run(spark, folder / "shop", "shop", slice_rows)
    spark.stop()
    return {
        "items": n,
        "cpu_ms": full.cpu_s / n * 1000 - decode_ms(),
        "ingest_cpu_ms": full.ingest_cpu_s / n * 1000,
        "describe_cpu_ms": full.describe_cpu_s / n * 1000,
        "full_s": full.seconds,
        "peak_rss_mb": peak.total,
        "peak_jvm_mb": peak.jvm,
        "peak_worker_mb": peak.worker,
        "rerun_requests": rerun.requests,
        "rerun_s": rerun.seconds,
        "rerun_cpu_s": rerun.cpu_s,
        "one_percent_requests": one_percent.requests,
        "one_percent_s": one_percent.seconds,
        "one_percent_cpu_s": one_percent.cpu_s,
    }


def each_size(sizes: list[int], slice_rows: int) -> Iterator[Mapping[str, float]]:
    """Yield the figures of each size, measured in a process and a JVM of its own."""
    for n in sizes:
        command = [sys.executable, "-m", "tests.bench.scale", "--only", str(n)]
        command += ["--slice-rows", str(slice_rows)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        logger.info("%s", json.dumps({k: round(v, 2) for k, v in figures.items()}))
        yield figures


def short(n: float) -> str:
    """Return 10k for 10,000 and 1m for a million."""
    millions, thousands = divmod(int(n), 1_000_000)
    return f"{millions}m" if millions and not thousands else f"{n / 1000:g}k"


def main() -> None:
    """Measure all sizes, and print one line of JSON."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--slice-rows", type=int, default=20_000)
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    if given.only:
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(
                json.dumps(one_size(given.only, Path(folder), given.slice_rows)) + "\n"
            )
        return
    found: dict[str, float] = {}
    sizes = sorted(int(n) for n in given.sizes.split(","))
    for figures in each_size(sizes, given.slice_rows):
        size = short(figures["items"])
        found[f"cpu_ms_per_sku_{size}"] = round(figures["cpu_ms"], 3)
        found[f"peak_rss_mb_{size}"] = round(figures["peak_rss_mb"])
        for name in ("rerun_requests", "one_percent_requests", "peak_jvm_mb", "peak_worker_mb"):
            found[name] = int(figures[name])
        for name in ("rerun_s", "one_percent_s", "full_s"):
            found[name] = round(figures[name], 1)
        for name in ("ingest_cpu_ms", "describe_cpu_ms"):
            found[name] = round(figures[name], 3)
        smallest = found[f"cpu_ms_per_sku_{short(sizes[0])}"]
        found["cpu_ratio"] = round(figures["cpu_ms"] / smallest, 2)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

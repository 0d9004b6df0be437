"""The embed stage over plain `SentenceTransformer.encode`, and int8 over float32.

    make bench-embed
    make bench-embed TEXTS=4000 ROUNDS=1

The same texts (titles and true descriptions of synthetic products) go through the whole stage
(reading items and descriptions, finding out what is new, encoding, committing, putting vectors in
force) on a Spark session with one core, and through `encode` in this process on one thread, with
torch and with OpenVINO int8, in interleaved rounds. Compared are CPU seconds of all processes, so
that other load on the machine does not count; medians over the rounds. Starting Spark and loading
the encoder are left out everywhere: before each round the stage runs over a few texts, after which
Spark's Python worker keeps the encoder. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tests.bench.processes import cpu_s
from vlm4rec_spark import delta
from vlm4rec_spark.config import load_config
from vlm4rec_spark.delta import TableNames
from vlm4rec_spark.demo.products import sample_product
from vlm4rec_spark.demo.titles import title
from vlm4rec_spark.demo.truth import true_description
from vlm4rec_spark.embeddings import job
from vlm4rec_spark.embeddings.encoders import Encoder, EncoderSpec, Vectors
from vlm4rec_spark.embeddings.texts import text_of
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.session import build_session
from vlm4rec_spark.tables import DESCRIPTIONS, EMBEDDINGS, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPACE = "title_caption"
WARM_UP = 200

logger = logging.getLogger("bench")


@dataclass(frozen=True)
class Product:
    """What an item's text is made of."""

    title: str
    description: str

    @property
    def text(self) -> str:
        """The text the stage embeds."""
        return text_of(SPACE, self.title, self.description, None) or ""


def products(n: int) -> list[Product]:
    """Return n products with different texts."""
    found: dict[str, Product] = {}
    seed = 0
    while len(found) < n:
        rng = np.random.default_rng([4, seed])
        product = sample_product(rng)
        made = Product(title(product, rng), true_description(product))
        found.setdefault(made.text, made)
        seed += 1
    return list(found.values())


@dataclass
class Taken:
    """CPU seconds and seconds by the clock of each round."""

    cpu: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)

    def measure(self, work: Callable[[], Any]) -> Any:
        """Add a round."""
        cpu, clock = cpu_s(), time.perf_counter()
        result = work()
        self.cpu.append(cpu_s() - cpu)
        self.clock.append(time.perf_counter() - clock)
        return result

    def __str__(self) -> str:
        """Return the medians in words."""
        clock = statistics.median(self.clock)
        return f"{statistics.median(self.cpu):.1f} s of CPU, {clock:.1f} s by the clock"


@dataclass
class Rounds:
    """The three that are compared."""

    plain: Taken = field(default_factory=Taken)
    stage: Taken = field(default_factory=Taken)
    int8: Taken = field(default_factory=Taken)


def plainly(encoder: Encoder, texts: list[str]) -> Vectors:
    """Return the unit vectors as a user of sentence-transformers gets them."""
    options = {"normalize_embeddings": True, "show_progress_bar": False}
    vectors: Vectors = encoder.model.encode(texts, batch_size=encoder.spec.batch_size, **options)
    return vectors


class Stage:
    """The embed stage over the products, in a schema of its own."""

    def __init__(self, spark: SparkSession, schema: str, wanted: list[Product]) -> None:
        """Write what the stage reads."""
        settings = ["embed.model=demo", f"embed.texts=['{SPACE}']", f"embed.serve_space={SPACE}"]
        self._names = TableNames(None, schema)
        self._context = RunContext(spark, load_config(None, settings), self._names, "bench")
        items = [
            {"item_id": f"i{n}", "title": p.title, "available": True, "request_key": f"k{n}"}
            for n, p in enumerate(wanted)
        ]
        descriptions = [
            {"request_key": f"k{n}", "status": "ok", "description": p.description}
            for n, p in enumerate(wanted)
        ]
        for spec, rows in ((ITEMS, items), (DESCRIPTIONS, descriptions)):
            table = pa.Table.from_pylist(rows, schema=spec.arrow_schema())
            delta.merge_on_key(spark, spark.createDataFrame(table), spec, self._names)

    def run(self) -> int:
        """Embed everything; return how many texts were encoded."""
        return job.run(self._context).counts["encoded"]

    def n_vectors(self) -> int:
        """Return how many vectors are cached."""
        return delta.read(self._context.spark, EMBEDDINGS, self._names).count()


def main() -> None:
    """Measure, and print one line of JSON."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    wanted = products(given.texts)
    texts = [product.text for product in wanted]
    torch, int8 = EncoderSpec("demo").open(), EncoderSpec("demo", backend="openvino_int8").open()
    for encoder in (torch, int8):
        plainly(encoder, texts[:WARM_UP])
    taken = Rounds()
    with tempfile.TemporaryDirectory() as folder:
        spark = build_session(
            "bench-embed", extra={"spark.master": "local[1]"}, warehouse=str(Path(folder))
        )
        for number in range(given.rounds):
            stage = Stage(spark, f"round_{number}", wanted)
            exact = taken.plain.measure(lambda: plainly(torch, texts))
            Stage(spark, f"warm_up_{number}", wanted[:WARM_UP]).run()
            encoded = taken.stage.measure(stage.run)
            near = taken.int8.measure(lambda: plainly(int8, texts))
            if encoded != len(texts) or stage.n_vectors() != len(texts):
                raise RuntimeError(f"the stage encoded {encoded} of {len(texts)} texts")
        spark.stop()
    cosine = float((exact * near).sum(axis=1).mean())
    logger.info("SentenceTransformer.encode: %s", taken.plain)
    logger.info("the embed stage: %s", taken.stage)
    logger.info("encode, openvino_int8: %s", taken.int8)
    found = {
        "vs_encode": ratio(taken.plain.cpu, taken.stage.cpu),
        "int8_x": ratio(taken.plain.cpu, taken.int8.cpu),
        "int8_cosine": round(cosine, 5),
        "vs_encode_by_clock": ratio(taken.plain.clock, taken.stage.clock),
        "texts": len(texts),
        "rounds": given.rounds,
        "texts_per_cpu_s": round(len(texts) / statistics.median(taken.plain.cpu), 1),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def ratio(first: list[float], second: list[float]) -> float:
    """Return how many times the median of the first is that of the second."""
    return round(statistics.median(first) / statistics.median(second), 3)


if __name__ == "__main__":
    main()

"""What the describe stage is measured against: vLLM's own `LLM.chat`, and the usual Spark recipe.

Both build the model with the flags of the product's server, send the same words, ask for the same
JSON schema and log-probabilities, and are timed without loading the model. Run as a program, it is
the offline one: `python -m tests.bench.describe_peers SHOP`, one line of JSON.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from vlm4rec_spark import testing
from vlm4rec_spark.catalog.images import prepare
from vlm4rec_spark.config import Config, load_config
from vlm4rec_spark.demo.products import sample_product
from vlm4rec_spark.descriptions.lifeline import descendants
from vlm4rec_spark.descriptions.local import (
    CPU_ENVIRONMENT,
    STRUCTURED_OUTPUTS,
    LocalSpec,
    cpu_dtype,
    model_path,
)
from vlm4rec_spark.descriptions.requests import Picture, Request, RequestRules, chat_body
from vlm4rec_spark.descriptions.schema import json_schema
from vlm4rec_spark.descriptions.server import LocalServer
from vlm4rec_spark.descriptions.specs import engine_spec, request_rules

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

SEED = 88_000
SIDE = 640
"""Of a picture in pixels, as shops have them."""
BATCH = 64
QUIET = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
"""For vLLM in a process of ours: it tells nobody and fetches nothing."""
MODEL_CORE, OTHER_CORE = 0, 1
ENGINE = ("VLLM::EngineCor", "VLLM::Worker")
"""How the kernel, which keeps 15 letters, names what schedules and what runs the model."""
SETTINGS = (
    "describe.attributes=fashion",
    "describe.engine.model=demo",
    "images.max_side=224",  # the demo model sees 128
)


def config(*more: str) -> Config:
    """Return the configuration all three share."""
    return load_config(None, [*SETTINGS, *more])


def pin(pid: int, core: int) -> None:
    """Let all threads of a process run on one core only."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def pin_apart(pid: int) -> None:
    """Let vLLM's engine below a process run on one core, that process and all others on the other.

    Raises:
        RuntimeError: no processes are called what vLLM calls those of its engine.
    """
    processes = [pid, *descendants(pid)]
    names = {each: Path(f"/proc/{each}/comm").read_text("utf-8").strip() for each in processes}
    if not set(ENGINE) <= set(names.values()):
        raise RuntimeError(f"not all of {', '.join(ENGINE)} are there: {names}")
    for each, name in names.items():
        pin(each, MODEL_CORE if name in ENGINE else OTHER_CORE)


def write_shop(folder: Path, n: int, first: int, side: int = SIDE) -> Path:
    """Write n products with a picture file each, `side` pixels, others for each `first`."""
    folder.mkdir()
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        written = partial(_write_product, folder, side)
        rows = list(pool.map(written, range(first, first + n), chunksize=16))
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    return folder


def _write_product(folder: Path, side: int, number: int) -> dict[str, str]:
    product = sample_product(np.random.default_rng([SEED, number]))
    path = folder / f"{number}.jpg"
    path.write_bytes(testing.picture(product, SEED + number, side=side))
    row = {"item_id": f"i{number}", "title": "", "category": product.kind.category}
    return {**row, "image": str(path)}


def running_server(config: Config) -> LocalServer:
    """Start the product's own server, where it does not run; return when it answers."""
    spec = engine_spec(config)
    if not isinstance(spec, LocalSpec):
        raise TypeError(f"a local engine was expected, found {type(spec).__name__}")
    server = LocalServer(spec)
    server.ensure()
    return server


def flags(config: Config) -> dict[str, Any]:
    """Return what `LLM` is given, in the words of the product's server."""
    engine = config.describe.engine
    return {
        "model": model_path(engine.model),
        "max_num_seqs": engine.max_num_seqs,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "structured_outputs_config": STRUCTURED_OUTPUTS,
        "mm_processor_cache_gb": 0,
        "dtype": cpu_dtype(),
    }


@dataclass(frozen=True)
class Asked:
    """What one picture is asked, in vLLM's own words."""

    messages: list[dict[str, Any]]
    sampling: Any

    @staticmethod
    def of(rules: RequestRules, image: Image.Image, category: str, key: str) -> Asked:
        """Return the chat and the parameters for a picture ready for the model."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        request = Request(key, (Picture("", key),), category)
        body = chat_body(rules, request, [b""], name_pictures=True)
        parts = body["messages"][1]["content"]
        parts[0] = {"type": "image_pil", "image_pil": image, "uuid": parts[0]["uuid"]}
        schema = json_schema(rules.schemas.schema_for(category), category)
        structured = StructuredOutputsParams(json=schema)
        given = {"temperature": rules.temperature, "max_tokens": rules.max_tokens, "logprobs": 0}
        return Asked(body["messages"], SamplingParams(**given, structured_outputs=structured))


class Model:
    """vLLM started by this process, the model on one core and all else on the other."""

    def __init__(self) -> None:
        """Load the model."""
        settings = {**CPU_ENVIRONMENT, "VLLM_CPU_OMP_THREADS_BIND": str(MODEL_CORE)}
        os.environ.update(settings | QUIET)
        os.sched_setaffinity(0, {MODEL_CORE, OTHER_CORE})  # what the engine's process inherits
        from vllm import LLM

        self._llm = LLM(**flags(config()), enforce_eager=True)
        pin_apart(os.getpid())

    def answers(self, asked: list[Asked]) -> list[str]:
        """Return what the model says, in one call that waits for all."""
        messages, sampling = [a.messages for a in asked], [a.sampling for a in asked]
        done = self._llm.chat(messages, sampling, use_tqdm=False)
        return [output.outputs[0].text for output in done]


@lru_cache(maxsize=1)
def loaded() -> Model:
    """Return the model of this process, which Spark may use again for another shop."""
    return Model()


def opened(raw: bytes) -> Image.Image:
    """Decode a picture."""
    return Image.open(io.BytesIO(raw)).convert("RGB")


def chats(
    rules: RequestRules, rows: list[dict[str, Any]], max_side: int | None = None
) -> list[Asked]:
    """Return what is asked about the products of a shop, their pictures decoded.

    Args:
        rules: the product's.
        rows: the products.
        max_side: longest side, in pixels, to which the product's own code resizes; None: as it is.
    """

    def one(row: dict[str, Any]) -> Asked:
        raw = Path(row["image"]).read_bytes()
        image = opened(raw if max_side is None else prepare(raw, max_side))
        return Asked.of(rules, image, row["category"], row["item_id"])

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, rows))


def recipe(spark: SparkSession, shop: Path, table: str) -> tuple[int, float]:
    """Describe the shop by `mapInPandas` and one call per batch of 64, into a Delta table.

    Returns:
        Answers that are JSON, and seconds from the moment the model is there to the commit.
    """
    ddl = "item_id STRING, answer STRING, began DOUBLE"
    rows = spark.read.parquet(str(shop / "items.parquet")).repartition(1)
    rows.mapInPandas(described, ddl).write.format("delta").saveAsTable(table)
    finished = time.time()
    found = spark.table(table).select("answer", "began").collect()
    return n_json(row["answer"] for row in found), finished - found[0]["began"]


def described(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Answer frame by frame, BATCH rows a call."""
    model, began = loaded(), time.time()
    rules = request_rules(config())
    for frame in frames:
        for start in range(0, len(frame), BATCH):
            rows = frame.iloc[start : start + BATCH]
            answers = model.answers(chats(rules, rows.to_dict("records")))
            yield rows[["item_id"]].assign(answer=answers, began=began)


def n_json(answers: Iterable[str]) -> int:
    """Return how many of the answers are JSON objects."""
    n = 0
    for answer in answers:
        try:
            n += isinstance(json.loads(answer), dict)
        except ValueError:
            continue
    return n


def main() -> None:
    """Describe a shop offline: pictures decoded beforehand, all of them in one call."""
    rows = pq.read_table(Path(sys.argv[1]) / "items.parquet").to_pylist()
    model = loaded()
    rules = request_rules(config())
    asked = chats(rules, rows, rules.max_side)
    started = time.time()
    answers = model.answers(asked)
    found = {"seconds": time.time() - started, "answers": n_json(answers)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

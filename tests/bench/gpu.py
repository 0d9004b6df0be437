"""The describe stage's core on a GPU, with the shapes of a 7B model, against vLLM's `LLM.chat`.

    make bench-gpu
    make bench-gpu PICTURES=500 TASKS=2

Needs an NVIDIA GPU with 40 GB or more, the extra `vlm`, and neither Spark nor Java: the tasks are
processes that run what Spark runs in its own (`describing`: record batches with the bytes of
pictures in, rows of the log out), all on one local server. Beside it, in the same run and on the
same pictures, `LLM.chat` gets them decoded, in one call, with the flags of the server. Starting
either, and reading the pictures from files, is left out; decoding, base64 and HTTP are in.

The model is LLaVA with the sizes of LLaVA-1.5-7B and random weights: its words mean nothing, and
the GPU takes as long as for a trained one. Tokenizer and template are the demo model's. As random
words would never end, all attributes are choices, and the description is one of some given ones:
an answer is as long as a trained model's. Where it is "not visible", the picture counts as failed.
How many tokens both had is in the figures, and how much of the time the GPU was busy. Some ten
minutes, half of them to start vLLM twice. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.describe_peers import QUIET, chats, flags, n_json, running_server, write_shop
from tests.bench.figures import figures_of
from tests.bench.gpu_model import SHAPES, write_attributes, write_model
from vlm4rec_spark.config import Config, load_config
from vlm4rec_spark.descriptions.lifeline import start_time
from vlm4rec_spark.descriptions.requests import RequestRules, request_key
from vlm4rec_spark.descriptions.specs import request_rules, worker_spec
from vlm4rec_spark.descriptions.worker import describing

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

LEASE_S = 3600
WARM_UP = 32

logger = logging.getLogger("bench")


@dataclass(frozen=True)
class Found:
    """What one way of describing the pictures took, and what it gave."""

    pictures: int
    seconds: float
    good: int
    prompt_tokens: float
    output_tokens: float
    gpu_busy: float

    @property
    def per_s(self) -> float:
        """Pictures a second."""
        return self.pictures / self.seconds


@contextlib.contextmanager
def watched() -> Iterator[list[int]]:
    """Give a list that holds, at the end, how busy the first GPU was: percent, once a second."""
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop=1"]
    command = ["nvidia-smi", "--id=0", *query]
    seen: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield seen
        process.terminate()
        found, _ = process.communicate()
    seen += [int(line) for line in found.split()] or [0]


def settings(folder: Path, seqs: int) -> Config:
    """Return the configuration of both."""
    return load_config(
        None,
        [
            f"describe.attributes={folder}/attributes.yml",
            f"describe.engine.model={folder}/model",
            f"describe.engine.max_num_seqs={seqs}",
            "describe.engine.max_tokens=1024",
            "describe.engine.server_args=[--load-format, dummy]",
            f"describe.engine.lease_s={LEASE_S}",
            "describe.engine.timeout_s=600",
            "images.max_side=448",
        ],
    )


def pending(rules: RequestRules, shop: Path) -> list[pa.RecordBatch]:
    """Return the requests of a shop as Spark hands them to a task, with the pictures' bytes."""
    rows = []
    for row in pq.read_table(shop / "items.parquet").to_pylist():
        content = Path(row["image"]).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        key = request_key(rules, [sha256], row["category"], None)
        picture = {"uri": row["image"], "sha256": sha256, "content": content}
        request = {"request_key": key, "category": row["category"], "title": None, "attempt": 1}
        rows.append({**request, "pictures": [picture]})
    batches: list[pa.RecordBatch] = pa.Table.from_pylist(rows).to_batches()
    return batches


def work(config: Config, shop: Path, gate: Barrier, done: Queue[Counter[str]]) -> None:
    """Be one Spark task: describe a shop when all are ready."""
    spec = worker_spec(config, "bench")
    batches = pending(spec.rules, shop)
    gate.wait()
    found: Counter[str] = Counter()
    for batch in describing(spec)(iter(batches)):
        for row in batch.to_pylist():
            found[row["status"]] += 1
            found["prompt_tokens"] += row["tokens_in"] or 0
            found["output_tokens"] += row["tokens_out"] or 0
            if row["error_message"] and found["error"] == 1:
                logger.warning("%s: %s", row["error_code"], row["error_message"])
    done.put(found)


def stage(config: Config, shops: list[Path]) -> Found:
    """Describe the shops, a task each."""
    context = multiprocessing.get_context("spawn")
    gate, done = context.Barrier(len(shops) + 1), context.Queue()
    tasks = [context.Process(target=work, args=(config, shop, gate, done)) for shop in shops]
    for task in tasks:
        task.start()
    total: Counter[str] = Counter()
    gate.wait()
    started = time.monotonic()
    with watched() as busy:
        for _ in tasks:
            total.update(done.get())
        taken = time.monotonic() - started
    for task in tasks:
        task.join()
    n = total["ok"] + total["error"]
    tokens = (total["prompt_tokens"] / n, total["output_tokens"] / n)
    return Found(n, taken, total["ok"], *tokens, statistics.mean(busy) / 100)


def served(config: Config, warm_up: Path, shops: list[Path]) -> Found:
    """Start the server, describe a few pictures, then the shops; end the server."""
    started = time.monotonic()
    server = running_server(config)
    logger.info("the server answers after %.0f s; its log is %s", _since(started), server.log)
    pid, _, birth = server.birth().partition("-")
    try:
        stage(config, [warm_up])
        return stage(config, shops)
    finally:
        server.stop()
        while start_time(int(pid)) == birth:  # until then it holds the GPU's memory
            time.sleep(0.5)


def offline(config: Config, warm_up: Path, shops: list[Path]) -> Found:
    """Describe the shops with vLLM alone, in this process."""
    os.environ.update(QUIET)
    from vllm import LLM

    started = time.monotonic()
    llm = LLM(**flags(config), load_format="dummy")
    logger.info("LLM is ready after %.0f s", _since(started))
    rules = request_rules(config)

    def ask(folders: list[Path]) -> Found:
        rows = [r for f in folders for r in pq.read_table(f / "items.parquet").to_pylist()]
        asked = chats(rules, rows, rules.max_side)
        messages, sampling = [a.messages for a in asked], [a.sampling for a in asked]
        with watched() as busy:
            started = time.monotonic()
            done = llm.chat(messages, sampling, use_tqdm=False)
            taken = time.monotonic() - started
        prompts = sum(len(each.prompt_token_ids or ()) for each in done)
        outputs = sum(len(each.outputs[0].token_ids) for each in done)
        good = n_json(each.outputs[0].text for each in done)
        tokens = (prompts / len(done), outputs / len(done))
        return Found(len(done), taken, good, *tokens, statistics.mean(busy) / 100)

    ask([warm_up])
    return ask(shops)


def apart(seqs: int, folder: Path) -> Found:
    """Run `offline` in a process of its own, which leaves the GPU when it ends."""
    arguments = ("--offline", str(folder), "--seqs", str(seqs))
    return Found(**figures_of("tests.bench.gpu", *arguments))


def write_shops(folder: Path, n_pictures: int, tasks: int) -> None:
    """Write a shop for each task, and one to warm up with."""
    write_shop(folder / "warm_up", WARM_UP, 0)
    each = -(-n_pictures // tasks)
    for task in range(tasks):
        n = min(each, n_pictures - task * each)
        write_shop(folder / f"task_{task}", n, WARM_UP + task * each)


def gpu_name() -> str:
    """Return the name of the first GPU; torch stays out of this process."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.splitlines()[0].strip()


def summary(ours: Found, theirs: Found) -> dict[str, Any]:
    """Return both rates, their ratio, and what they were measured with."""
    return {
        "vs_vllm_offline": round(ours.per_s / theirs.per_s, 3),
        "pictures_per_s": round(ours.per_s, 2),
        "offline_pictures_per_s": round(theirs.per_s, 2),
        "pictures": ours.pictures,
        "good": ours.good,
        "offline_good": theirs.good,
        "prompt_tokens": round(ours.prompt_tokens, 1),
        "offline_prompt_tokens": round(theirs.prompt_tokens, 1),
        "output_tokens": round(ours.output_tokens, 1),
        "offline_output_tokens": round(theirs.output_tokens, 1),
        "gpu_busy": round(ours.gpu_busy, 2),
        "offline_gpu_busy": round(theirs.gpu_busy, 2),
        "gpu": gpu_name(),
        "vllm": importlib.metadata.version("vllm"),
        "shapes": SHAPES,
    }


def main() -> None:
    """Measure, and print one line of JSON."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--seqs", type=int, default=128, help="max_num_seqs of both")
    parser.add_argument("--offline", type=Path, metavar="FOLDER", help="only LLM.chat, of this one")
    given = parser.parse_args()
    if given.offline:
        shops = sorted(given.offline.glob("task_*"))
        config = settings(given.offline, given.seqs)
        found = offline(config, given.offline / "warm_up", shops)
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model")
        write_attributes(folder / "attributes.yml")
        write_shops(folder, given.pictures, given.tasks)
        config = settings(folder, given.seqs)
        ours = served(config, folder / "warm_up", sorted(folder.glob("task_*")))
        logger.info("the stage: %s", ours)
        theirs = apart(given.seqs, folder)
        logger.info("LLM.chat: %s", theirs)
    sys.stdout.write(json.dumps(summary(ours, theirs)) + "\n")


def _since(moment: float) -> float:
    return time.monotonic() - moment


if __name__ == "__main__":
    main()

"""A real vLLM server on this machine: shared, tolerant of bad requests, gone when not needed."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions import lifeline, plugin
from vlm4rec_spark.descriptions.confidence import value_confidences
from vlm4rec_spark.descriptions.engine import EngineFailure, Reply
from vlm4rec_spark.descriptions.local import DEMO_MODEL, LocalClient, LocalSpec, model_path
from vlm4rec_spark.descriptions.requests import Picture, Request, chat_body
from vlm4rec_spark.descriptions.server import LocalServer
from vlm4rec_spark.descriptions.specs import request_rules
from vlm4rec_spark.errors import EngineError

MODEL = os.environ.get("VLM4REC_TEST_VLM", DEMO_MODEL)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(
        not (Path(model_path(MODEL)) / "config.json").exists(), reason="there is no demo model"
    ),
]


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (90, 120), (20, 90, 160)).save(out, "JPEG")
    return out.getvalue()


def test_our_servers_sleep_until_vllm_is_told_and_miss_no_word() -> None:
    told = (
        "from vlm4rec_spark.descriptions.plugin import register; register(); "
        "import threading, time; "
        "from vllm.distributed.device_communicators.shm_broadcast import MessageQueue; "
        "queue = MessageQueue(1, 1); "
        "reader = MessageQueue.create_from_handle(queue.export_handle(), 0); "
        "threading.Thread(target=queue.wait_until_ready).start(); reader.wait_until_ready(); "
        "queue.enqueue('first'); assert reader.dequeue() == 'first'; "
        "threading.Timer(0.5, lambda: [queue.enqueue(n) for n in range(9)]).start(); "
        "began = time.thread_time(); got = [reader.dequeue() for _ in range(9)]; "
        "print(got == list(range(9)), time.thread_time() - began < 0.25)"
    )
    done = subprocess.run(
        [sys.executable, "-c", told],
        env={**os.environ, plugin.SWITCH: "1", plugin.SLEEPS: "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert done.stdout.split()[-2:] == ["True", "True"]


def test_our_servers_compile_a_grammar_once_and_give_each_request_its_own() -> None:
    told = (
        "import json, sys; from types import SimpleNamespace as Some; "
        "from vlm4rec_spark.descriptions.plugin import register; register(); "
        "from transformers import AutoTokenizer; "
        "from vllm.v1.structured_output.backend_guidance import GuidanceBackend; "
        "from vllm.v1.structured_output.backend_types import StructuredOutputOptions; "
        "words = AutoTokenizer.from_pretrained(sys.argv[1]); "
        "rules = Some(disable_any_whitespace=True, disable_additional_properties=False); "
        "config = Some(structured_outputs_config=rules); "
        "backend = GuidanceBackend(config, words, len(words)); "
        "schema = {'type': 'object', 'properties': {'colour': {'enum': ['red', 'blue']}}}; "
        "schema |= {'required': ['colour'], 'additionalProperties': False}; "
        "new = lambda: backend.compile_grammar(StructuredOutputOptions.JSON, json.dumps(schema)); "
        "first = new(); backend.ll_tokenizer = None; second = new(); "
        'begin = words.encode(\'{"colour":"r\', add_special_tokens=False); '
        "assert first.accept_tokens('', begin) and second.accept_tokens('', begin[:1]); "
        "print(json.dumps([g.ll_matcher.compute_ff_bytes().decode() for g in (first, second)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", told, model_path(MODEL)],
        env={**os.environ, plugin.SWITCH: "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    rest = json.loads(done.stdout.splitlines()[-1])
    assert rest[0] == 'ed"}'
    assert rest[1].endswith('colour":"')


async def ask(client: LocalClient, pictures: list[bytes]) -> list[Reply | EngineFailure]:
    settings = [f"describe.engine.model={MODEL}", "describe.attributes=fashion"]
    rules = request_rules(load_config(None, settings))
    bodies = [
        chat_body(rules, Request(f"k{i}", (Picture("", f"h{i}"),), "Hats"), [p], name_pictures=True)
        for i, p in enumerate(pictures)
    ]
    bodies = [body | {"logprobs": True} for body in bodies]
    try:
        return list(
            await asyncio.gather(*(client.complete(b, str(i)) for i, b in enumerate(bodies)))
        )
    finally:
        await client.aclose()


def test_one_server_serves_all_and_no_process_of_it_outlives_its_lifeline() -> None:
    spec = LocalSpec(MODEL, max_num_seqs=8, lease_s=60.0, start_timeout_s=500.0)
    with ThreadPoolExecutor(2) as threads:
        clients = list(threads.map(lambda _: spec.open(), range(2)))
    pids = json.loads((spec.folder / "pids").read_text())
    first, bad, second = asyncio.run(ask(clients[0], [jpeg(), b"no picture", jpeg()]))
    assert isinstance(bad, EngineFailure)
    assert bad.code == "http_400"
    for reply in (first, second):
        assert isinstance(reply, Reply)
        assert reply.text.startswith('{"type":')
        assert value_confidences(reply.text, reply.tokens)["type"] > 0
        assert reply.tokens_out > 0
    (reply,) = asyncio.run(ask(clients[1], [jpeg()]))
    assert isinstance(reply, Reply)
    assert json.loads((spec.folder / "pids").read_text()) == pids

    below = lifeline.descendants(pids[0])
    assert len(below) > 1
    # Nobody is left to clean up: the kernel ends the front end, and with it the engine.
    os.kill(pids[0], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(lifeline.start_time(pid) for pid in [*pids, *below]):
        assert time.monotonic() < deadline, "a process of the server is left"
        time.sleep(0.5)
    assert not LocalServer(spec).is_healthy()


def test_a_server_that_cannot_start_shows_its_last_words() -> None:
    spec = LocalSpec(MODEL, server_args=("--no-such-option",), start_timeout_s=300.0)
    with pytest.raises(EngineError, match="no-such-option"):
        spec.open()

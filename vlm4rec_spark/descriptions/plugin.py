"""A plugin that vLLM loads in each of its processes: none outlives its parent, none wastes a core.

An engine process of vLLM stays alive when its front end is killed, and keeps the GPU's memory. And
while it waits for the model it spins, holding Python's lock for most of the time: the thread that
takes in requests gets it once in a switch interval, and a new request needs it a dozen times. On a
CPU what spins also takes the core from what it waits for, the model. And it compiles the grammar of
the answer for each request, though thousands ask for the same. The plugin does nothing in a vLLM
that this package did not start.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vlm4rec_spark.descriptions.lifeline import die_with_parent

SWITCH = "VLM4REC_DIE_WITH_PARENT"
"""Environment variable that is set to '1' for our own servers."""
SWITCH_INTERVAL_S = 1e-4
"""Python's own is 5 ms, which starves the engine: it then answers one request at a time."""
SLEEPS = "VLM4REC_SLEEPS"
"""Environment variable that is set to '1' for our own servers on a CPU."""
AWAKE_S = 1.0
"""So long after it was told something a process of vLLM spins by itself."""
LONGEST_SLEEP_MS = 2
"""Of two words within a moment vLLM can lose the second: how late it may be noticed."""

KEPT_GRAMMARS = 256
"""As many as there are categories with fields of their own, and far more."""


def register() -> None:
    """Ask the kernel to end this process with the one that started it; spare it needless work."""
    if os.environ.get(SWITCH) != "1":
        return
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if os.environ.get(SLEEPS) == "1":
        _sleep_until_told()
    _compile_grammars_once()
    die_with_parent()
    if os.getppid() == 1:  # it went before the kernel was asked
        os._exit(1)


def _sleep_until_told() -> None:
    """Let vLLM's processes sleep until the other one's word, where they would go on looking for it.

    Who writes into their shared memory notifies the other through a socket each time, but vLLM has
    no setting for waiting at that socket at once. A release that waits in another way is left as it
    is.
    """
    with contextlib.suppress(ImportError):
        from vllm.distributed.device_communicators import shm_broadcast

        if hasattr(shm_broadcast, "SpinCondition"):
            shm_broadcast.SpinCondition.wait = _sleeping(shm_broadcast.SpinCondition.wait)


def _sleeping(wait: Callable[[Any, int | None], None]) -> Callable[[Any, int | None], None]:
    def sleep(condition: Any, timeout_ms: int | None = None) -> None:
        condition.busy_loop_s = 0.0  # wait at the socket, however short ago the last word was
        if time.monotonic() < condition.last_read + AWAKE_S:
            timeout_ms = min(timeout_ms or LONGEST_SLEEP_MS, LONGEST_SLEEP_MS)
        wait(condition, timeout_ms)

    return sleep


def _compile_grammars_once() -> None:
    """Let vLLM's engine copy a grammar that it has compiled before.

    Copies share what their parser learns of the tokens that may come next, so that finding these
    takes half as long, too. A release that keeps a grammar in another way is left as it is.
    """
    with contextlib.suppress(ImportError):
        from vllm.v1.structured_output.backend_guidance import GuidanceBackend, GuidanceGrammar

        if "ll_matcher" in getattr(GuidanceGrammar, "__dataclass_fields__", ()):
            GuidanceBackend.compile_grammar = copying(GuidanceBackend.compile_grammar)


def copying(compile_grammar: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method like vLLM's `compile_grammar` that compiles each grammar once.

    Args:
        compile_grammar: takes the backend, the kind of the grammar, its text, and what else there
            is; returns a dataclass whose `ll_matcher` holds all that changes with each token.
    """
    kept: dict[tuple[Any, str], Any] = {}

    def copy(backend: Any, kind: Any, text: str, *rest: Any, **named: Any) -> Any:
        grammar = kept.get((kind, text))
        if grammar is None:
            if len(kept) >= KEPT_GRAMMARS:
                kept.clear()
            grammar = kept[kind, text] = compile_grammar(backend, kind, text, *rest, **named)
        return replace(grammar, ll_matcher=grammar.ll_matcher.deep_copy())

    return copy

"""A plugin that vLLM loads in each of its processes: none outlives its parent, none wastes a core.

An engine process of vLLM stays alive when its front end is killed, and keeps the GPU's memory. And
while it waits for the model it spins, holding Python's lock for most of the time: the thread that
takes in requests gets it once in a switch interval, and a new request needs it a dozen times. On a
CPU what spins also takes the core from what it waits for, the model. The plugin does nothing in a
vLLM that this package did not start.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from vlm4rec_spark.descriptions.lifeline import die_with_parent

SWITCH = "VLM4REC_DIE_WITH_PARENT"
"""Environment variable that is set to '1' for our own servers."""
SWITCH_INTERVAL_S = 1e-4
"""Python's own is 5 ms, which starves the engine: it then answers one request at a time."""
NAPS = "VLM4REC_NAPS"
"""Environment variable that is set to '1' for our own servers on a CPU."""
NAP_S = 1e-4
"""A step of a model on a CPU takes more than a hundred times as long."""


def register() -> None:
    """Ask the kernel to end this process with the one that started it; shorten its turns."""
    if os.environ.get(SWITCH) != "1":
        return
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if os.environ.get(NAPS) == "1":
        _nap_while_waiting()
    die_with_parent()
    if os.getppid() == 1:  # it went before the kernel was asked
        os._exit(1)


def _nap_while_waiting() -> None:
    """Let vLLM's processes sleep for a moment where they would look for each other's word again.

    vLLM has no setting for it. A release that waits in another way is left as it is.
    """
    with contextlib.suppress(ImportError):
        from vllm.distributed.device_communicators import shm_broadcast

        if hasattr(shm_broadcast, "sched_yield"):
            shm_broadcast.sched_yield = _nap


def _nap() -> None:
    time.sleep(NAP_S)

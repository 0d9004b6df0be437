"""A plugin that vLLM loads in each of its processes: none outlives its parent, threads take turns.

An engine process of vLLM stays alive when its front end is killed, and keeps the GPU's memory. And
while it waits for the model it spins, holding Python's lock for most of the time: the thread that
takes in requests gets it once in a switch interval, and a new request needs it a dozen times. The
plugin does nothing in a vLLM that this package did not start.
"""

from __future__ import annotations

import os
import sys

from vlm4rec_spark.descriptions.lifeline import die_with_parent

SWITCH = "VLM4REC_DIE_WITH_PARENT"
"""Environment variable that is set to '1' for our own servers."""
SWITCH_INTERVAL_S = 1e-4
"""Python's own is 5 ms, which starves the engine: it then answers one request at a time."""


def register() -> None:
    """Ask the kernel to end this process with the one that started it; shorten its turns."""
    if os.environ.get(SWITCH) != "1":
        return
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    die_with_parent()
    if os.getppid() == 1:  # it went before the kernel was asked
        os._exit(1)

"""A plugin that vLLM loads in each of its processes: none of them outlives its parent.

An engine process of vLLM stays alive when its front end is killed, and keeps the GPU's memory. The
plugin does nothing in a vLLM that this package did not start.
"""

from __future__ import annotations

import os

from vlm4rec_spark.descriptions.lifeline import die_with_parent

SWITCH = "VLM4REC_DIE_WITH_PARENT"
"""Environment variable that is set to '1' for our own servers."""


def register() -> None:
    """Ask the kernel to end this process with the one that started it."""
    if os.environ.get(SWITCH) != "1":
        return
    die_with_parent()
    if os.getppid() == 1:  # it went before the kernel was asked
        os._exit(1)

"""A stand-in for vLLM with vLLM's two processes: a front end on a unix socket, and an engine.

It answers like the fake engine, each request after 250 ms, and ends when its engine dies. Run as a
file: `server.py SOCKET`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from tests.faults import model_server, picture_server
from tests.soak.victims import ENGINE
from vlm4rec_spark.descriptions.lifeline import die_with_parent

PR_SET_NAME = 15


def start_engine() -> int:
    """Fork the process that stands for vLLM's engine; return its number."""
    pid = os.fork()
    if pid == 0:
        die_with_parent()
        ctypes.CDLL(None).prctl(PR_SET_NAME, ENGINE.encode())
        while True:
            signal.pause()
    return pid


def end_with(engine: int) -> None:
    """End this process when the engine has ended, as vLLM's front end does."""
    os.waitpid(engine, 0)
    os._exit(1)


if __name__ == "__main__":
    forked = start_engine()
    threading.Thread(target=end_with, args=(forked,), daemon=True).start()
    with model_server.Server(sys.argv[1], picture_server.Handler) as server:
        server.serve_forever()

"""A small process that is the parent of a model server, and ends it when nobody needs it.

Python workers of Spark come and go, and they leave without running any clean-up code; a server
started by one of them would stay for ever, or die too early. This process stands between: it ends
the server, with all its children, when the lease is no longer renewed, or when every application
that asked for the server is gone. It uses the standard library only and is run as a file, so that
it starts in a moment and needs nothing of its caller's environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.5
GRACE_S = 5.0
"""How long a server may take over a polite end: nothing survives its application by 10 s."""


def start_time(pid: int) -> str | None:
    """Return when a process started, in clock ticks; None when there is no such process.

    Together with the number this names a process for good: numbers are used again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else rest[18]


def is_owned(folder: Path) -> bool:
    """Tell whether one of the owners, files named PID-START, still runs."""
    for path in folder.iterdir():
        pid, _, start = path.name.partition("-")
        if pid.isdigit() and start_time(int(pid)) == start:
            return True
    return False


def is_leased(lease: Path, lease_s: float) -> bool:
    """Tell whether the lease file was touched in the last `lease_s` seconds."""
    try:
        return time.time() - lease.stat().st_mtime < lease_s
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """Return all living processes below `pid`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text("utf-8")
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end(server: subprocess.Popen[bytes]) -> None:
    """End the server politely, then everything below this process without asking."""
    if server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(GRACE_S)
    # The engine's own processes may have outlived the front end: as subreaper we inherited them.
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def main(folder: Path, lease_s: float, command: list[str]) -> int:
    """Run the command until it ends, its lease ends, or its owners are gone."""
    alive = (folder / "alive").open("w", encoding="utf-8")
    # Held until this process ends, however it ends: the proof that a lifeline is there.
    fcntl.flock(alive, fcntl.LOCK_EX)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
    )
    (folder / "pids").write_text(json.dumps([os.getpid(), server.pid]), "utf-8")
    (folder / "birth").write_text(f"{os.getpid()}-{start_time(os.getpid())}", "utf-8")
    try:
        while server.poll() is None:
            if not (is_leased(folder / "lease", lease_s) and is_owned(folder / "owners")):
                # Its absence tells the next starter that the server died by itself.
                (folder / "ended").touch()
                break
            time.sleep(POLL_S)
    finally:
        end(server)
    return server.returncode or 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))

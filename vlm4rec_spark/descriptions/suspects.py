"""After a death of the server: the requests it was answering go one at a time.

One of them may have killed it. Each is sent while nothing else is, in any task of the node, so
that a second death names the culprit; all other requests wait until the suspects are done.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from vlm4rec_spark.descriptions.lifeline import start_time

POLL_S = 0.1


class Suspects:
    """The suspects of all tasks that share a server, as files in its folder."""

    def __init__(self, folder: Path) -> None:
        """Make the folder of the suspects below the server's."""
        self._folder = folder / "suspects"
        self._folder.mkdir(exist_ok=True)
        self._lock = folder / "suspects.lock"
        pid = os.getpid()
        self._owner = f"{pid}-{start_time(pid)}"

    async def wait_until_none(self) -> None:
        """Return when no request of any task is under suspicion."""
        while self._is_any():  # noqa: ASYNC110 - they belong to other processes
            await asyncio.sleep(POLL_S)

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Mark a request as suspected, and let it go when no other suspect is being sent."""
        mark = self._folder / f"{self._owner}-{uuid.uuid4().hex}"
        mark.touch()
        try:
            with self._lock.open("a") as lock:
                while not _is_locked(lock.fileno()):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(POLL_S)
                yield
        finally:
            mark.unlink(missing_ok=True)

    def _is_any(self) -> bool:
        for name in os.listdir(self._folder):  # noqa: PTH208 - asked before every request
            pid, start, _ = name.split("-")
            if start_time(int(pid)) == start:
                return True
            # Its worker was killed: nobody else will take the mark away.
            (self._folder / name).unlink(missing_ok=True)
        return False


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

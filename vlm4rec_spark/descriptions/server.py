"""The local vLLM server of a node: found or started by whoever needs it first, shared by all."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vlm4rec_spark.descriptions import lifeline
from vlm4rec_spark.descriptions.server_log import words_of
from vlm4rec_spark.descriptions.weights import on_this_node
from vlm4rec_spark.errors import EngineError, MissingExtraError

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.local import LocalSpec

logger = logging.getLogger(__name__)

POLL_S = 0.5
HEALTH_S = 2.0
"""Patience with one question for health; short, as the lease is renewed between two of them."""

MOST_DEATHS = 3
DEATHS_WITHIN_S = 1800.0
"""A server that dies more often than that is not started again."""

LONGEST_SOCKET_PATH = 100
"""Unix sockets allow about 107 bytes."""

IDLE_S = 30.0
"""A server whose lease was not renewed for so long has no client; they renew it every 10 s."""
ENDS_WITHIN_S = 15.0
HUNG = "hung"
"""Marks a death that was our doing."""


class LocalServer:
    """The files of one server, and what can be done with them."""

    def __init__(self, spec: LocalSpec) -> None:
        """Make the folder, readable by this user only."""
        self._spec = spec
        self._folder = spec.folder
        self._folder.parent.mkdir(mode=0o700, exist_ok=True)
        if self._folder.parent.stat().st_uid != os.getuid():
            raise EngineError(f"{self._folder.parent} belongs to another user; set TMPDIR.")
        (self._folder / "owners").mkdir(parents=True, exist_ok=True)
        self.socket = self._folder / "socket"
        if len(str(self.socket)) > LONGEST_SOCKET_PATH:
            raise EngineError(
                f"The temp folder's name is too long for a unix socket ({self.socket}); "
                "set TMPDIR to a shorter one."
            )

    def touch(self) -> None:
        """Renew the lease."""
        (self._folder / "lease").touch()

    def ensure(self) -> None:
        """Return when the server answers; start it where it does not run.

        Raises:
            EngineError: it did not start in time, or it ended while starting.
            MissingExtraError: vLLM is not installed.
        """
        self._own()
        self.touch()
        if self.is_healthy():
            return
        deadline = time.monotonic() + self._spec.start_timeout_s
        with self._locked(deadline):
            started = False
            while not self.is_healthy():
                if not is_running(self._folder):
                    if started:
                        raise EngineError(self._report("ended while it started"))
                    self._count_death()
                    self._start()
                    started = True
                if time.monotonic() > deadline:
                    self.stop()
                    seconds = f"{self._spec.start_timeout_s:.0f} s"
                    raise EngineError(self._report(f"did not answer within {seconds}"))
                self.touch()
                time.sleep(POLL_S)

    def is_healthy(self) -> bool:
        """Ask the server whether it is ready."""
        import httpx

        if not self.socket.exists():
            return False
        transport = httpx.HTTPTransport(uds=str(self.socket))
        try:
            with httpx.Client(transport=transport, timeout=HEALTH_S) as http:
                return http.get("http://local/health").status_code == httpx.codes.OK
        except (httpx.HTTPError, OSError):
            return False

    def metrics_page(self) -> str:
        """Return the server's Prometheus page; empty where it does not answer."""
        import httpx

        transport = httpx.HTTPTransport(uds=str(self.socket))
        try:
            with httpx.Client(transport=transport, timeout=HEALTH_S) as http:
                return http.get("http://local/metrics").text
        except (httpx.HTTPError, OSError):
            return ""

    def birth(self) -> str:
        """Return what names the running, or last, server: another word after each start."""
        try:
            return (self._folder / "birth").read_text("utf-8")
        except OSError:
            return ""

    def note_answer(self) -> None:
        """Tell all tasks of this node that the server has just answered one of them."""
        (self._folder / "answered").touch()

    def answered_at(self) -> float:
        """Return when the server last answered a task of this node; 0 when it never did."""
        try:
            return (self._folder / "answered").stat().st_mtime
        except OSError:
            return 0.0

    def end_hung(self, birth: str) -> None:
        """Kill the server of this birth, which takes requests and does not answer them."""
        pid, _, start = birth.partition("-")
        if birth != self.birth() or not pid or lifeline.start_time(int(pid)) != start:
            return  # another task did it already
        logger.warning("The model server was %s. It is started again.", self.hung_words)
        (self._folder / HUNG).write_text(birth, "utf-8")
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)  # of the lifeline: the kernel ends all below it

    @property
    def hung_words(self) -> str:
        """What befell a server that `end_hung` killed, and what helps."""
        return (
            f"ended after describe.engine.timeout_s = {self._spec.timeout_s:g} s without any "
            "answer; raise it, or lower max_num_seqs"
        )

    def stop(self) -> None:
        """Withdraw the lease; the lifeline ends the server with all its processes."""
        (self._folder / "lease").unlink(missing_ok=True)

    def _count_death(self) -> None:
        """Note whether the last server ended unasked, and refuse after too many such ends.

        Those of another application do not count: its user may have mended what killed it.
        """
        noted, now, owner = self._folder / "deaths", time.time(), _owner()
        lines = noted.read_text("utf-8").splitlines() if noted.exists() else []
        deaths = [line for line in lines if now - float(line.split()[0]) < DEATHS_WITHIN_S]
        birth = self._folder / "birth"
        if birth.exists() and not (self._folder / "ended").exists():
            deaths.append(f"{now:.3f} {owner}{f' {HUNG}' if self._was_hung() else ''}")
            logger.warning("The model server has died.")
            if self.log.exists():
                self.log.replace(self._folder / "log.died")
        birth.unlink(missing_ok=True)
        noted.write_text("\n".join(deaths), "utf-8")
        ours = [line for line in deaths if line.split()[1] == owner]
        if len(ours) > MOST_DEATHS:
            hung_times = sum(line.endswith(HUNG) for line in ours)
            why = f" ({hung_times} of them {self.hung_words})" if hung_times else ""
            within = f"{DEATHS_WITHIN_S / 60:.0f} minutes{why}"
            what = f"died {len(ours)} times within {within} and is not started again for now"
            raise EngineError(self._report(what, self._folder / "log.died"))

    def _was_hung(self) -> bool:
        hung = self._folder / HUNG
        return hung.exists() and hung.read_text("utf-8") == self.birth()

    def _own(self) -> None:
        (self._folder / "owners" / _owner()).touch()

    @contextlib.contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        what = "is started by a task that hangs"
                        raise EngineError(self._report(what)) from None
                    time.sleep(POLL_S)
            yield

    def _make_room(self) -> None:
        """End this application's idle servers on the same devices: they hold the memory.

        Such a one is left over, as where `max_num_seqs` was changed since its last request; one
        that is in use has its lease renewed.
        """
        ours = self._spec.bound
        (self._folder / "devices").write_text("\n".join(ours), "utf-8")
        for noted in self._folder.parent.glob("*/devices"):
            folder, theirs = noted.parent, noted.read_text("utf-8").splitlines()
            is_apart = bool(ours and theirs) and not set(ours) & set(theirs)
            is_foreign = not (folder / "owners" / _owner()).exists()
            is_used = lifeline.is_leased(folder / "lease", IDLE_S)
            if folder == self._folder or is_apart or is_foreign or is_used:
                continue
            (folder / "lease").unlink(missing_ok=True)
            deadline = time.monotonic() + ENDS_WITHIN_S
            while is_running(folder) and time.monotonic() < deadline:
                logger.info("Waiting for the idle model server in %s to make room.", folder)
                time.sleep(POLL_S)

    def _start(self) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise MissingExtraError("vllm", "vlm" if has_gpu_driver() else "vlm-cpu")
        self._make_room()
        self.socket.unlink(missing_ok=True)
        (self._folder / "ended").unlink(missing_ok=True)
        lifeline_file = str(Path(lifeline.__file__))
        model, root = self._spec.path, self._folder.parent / "weights"
        here = on_this_node(model, root)
        command = [here if word == model else word for word in self._spec.command(self.socket)]
        self.touch()  # copying may have taken longer than the lease
        logger.info("Starting the model server for %s; log: %s", self._spec.model, self.log)
        with self.log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - the command is ours
                [
                    *(sys.executable, "-I", lifeline_file, str(self._folder)),
                    *(str(self._spec.lease_s), *command),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._spec.environment()},
                cwd=self._folder,
                start_new_session=True,
            )
        while process.poll() is None and not is_running(self._folder):
            time.sleep(0.05)
        # Reaped here, so that a dead lifeline is no zombie for as long as this worker lives.
        threading.Thread(target=process.wait, daemon=True).start()

    @property
    def log(self) -> Path:
        """What the server printed since its last start."""
        return self._folder / "log"

    def _report(self, what: str, log: Path | None = None) -> str:
        log = log or self.log
        whose = f"The local vLLM server for '{self._spec.model}'"
        return f"{whose} {what}. Its log is {log}; {words_of(log)}"


def is_running(folder: Path) -> bool:
    """Tell whether a server's lifeline holds its lock."""
    with (folder / "alive").open("a") as alive:
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _owner() -> str:
    pid = owner_pid()
    return f"{pid}-{lifeline.start_time(pid)}"


def owner_pid() -> int:
    """Return the process that stands for the application: the nearest JVM above, or this one."""
    pid = os.getpid()
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
        except OSError:
            break
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if name == "java":
            return pid
        pid = int(rest.split()[1])
    return os.getpid()


def has_gpu_driver() -> bool:
    """Tell whether this machine has an NVIDIA GPU that can be used; loads nothing."""
    return Path("/dev/nvidiactl").exists()

"""One describe run against an endpoint with many faults: none lost, each described once.

Run as `python -m tests.soak.endpoint`; `make soak` holds it, too. A stand-in on loopback answers as
an OpenAI-like service does. Twice it is busy for a minute, and says 429 to all requests: the first
time with no word on how long to wait, the second time with Retry-After. An item's title tells what
else becomes of its request, at the first try or always: answered late, kept for longer than
`timeout_s`, the connection dropped, garbage sent. Ends with one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.loopback import Answering, Loopback
from tests.soak.tables import rows, twice
from vlm4rec_spark import testing
from vlm4rec_spark.descriptions.fake import answer_to

if TYPE_CHECKING:
    from socket import socket

TITLES = {"well": 150, "slow": 14, "hang": 8, "drop": 16, "garbage": 16,
          "always-hang": 2, "always-drop": 2, "always-garbage": 2, "always-refuse": 2}  # fmt: skip
"""What becomes of requests, and of how many each."""

ERRORS = {
    "always-hang": ("request", "timeout"),
    "always-drop": ("request", "connect"),
    "always-garbage": ("request", "bad_reply"),
    "always-refuse": ("request", "http_400"),
}
"""Stage and code in the row of a request that no patience helps."""

BUSY_S = 60.0
BUSY_AFTER = (40, 100)
"""Answers given before each of the busy minutes."""

RETRY_AFTER_S = 5
ANSWER_S, SLOW_S, TIMEOUT_S, HANG_S = 0.25, 3.0, 5.0, 8.0
IN_FLIGHT = 16
MOST_REFUSALS = 20 * IN_FLIGHT
"""429s of one busy minute; a client that sent them on and on would get thousands."""

RUN_TIMEOUT_S = 600.0
EXAMPLES = 5


def settings(url: str) -> list[str]:
    """Return the settings of a job that asks this endpoint, in two slices."""
    return [
        "describe.engine.kind=endpoint",
        f"describe.engine.urls=[{url}]",
        f"describe.engine.timeout_s={TIMEOUT_S}",
        "describe.engine.attempts=3",
        f"describe.engine.max_num_seqs={IN_FLIGHT}",
        "describe.use_title=true",
        f"describe.slice_rows={sum(TITLES.values()) // 2}",
        # One slice may have most of those that always fail.
        "describe.max_failure_rate=0.2",
    ]


class Service(Loopback):
    """The stand-in, and what it has seen."""

    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(Handler)
        self.asked: Counter[str] = Counter()
        self.refused = [0 for _ in BUSY_AFTER]
        self.back_after_s: list[float] = []
        """Seconds from the end of each busy minute to the next request."""
        self._answers = 0
        self._busy_since: list[float] = []
        self._lock = threading.Lock()

    def refusal(self) -> dict[str, str] | None:
        """Return the headers of a 429 where it is busy now."""
        with self._lock:
            begun, now = len(self._busy_since), time.monotonic()
            if begun < len(BUSY_AFTER) and self._answers >= BUSY_AFTER[begun]:
                self._busy_since.append(now)
                begun += 1
            busy_s = now - self._busy_since[-1] if begun else BUSY_S
            if busy_s < BUSY_S:
                self.refused[begun - 1] += 1
                return {"Retry-After": str(RETRY_AFTER_S)} if begun == len(BUSY_AFTER) else {}
            if len(self.back_after_s) < begun:
                self.back_after_s.append(busy_s - BUSY_S)
            return None

    def fate_of(self, title: str) -> str:
        """Return what becomes of this try."""
        with self._lock:
            self.asked[title] += 1
            kind = title.partition(" ")[0]
            is_hit = self.asked[title] == 1 or kind in ERRORS
        return kind.removeprefix("always-") if is_hit else "well"

    def answered(self) -> None:
        """Count an answer."""
        with self._lock:
            self._answers += 1

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Pass over clients that have gone: they were kept waiting for too long."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(Answering):
    """Answers, or does what the title in a request says."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Answer one request for a completion."""
        service = self.server
        assert isinstance(service, Service)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = service.refusal()
        if headers is not None:
            self.reply(429, b'{"error": {"message": "slow down"}}', **headers)
            return
        words = body["messages"][1]["content"][-1]["text"]
        fate = service.fate_of(words.rpartition(": ")[2])
        if fate in {"hang", "drop"}:
            time.sleep(HANG_S if fate == "hang" else 0)
            self.close_connection = True
        elif fate == "garbage":
            self.reply(200, b"<html>")
        elif fate == "refuse":
            self.reply(400, b'{"error": {"message": "I do not like it."}}')
        else:
            time.sleep(SLOW_S if fate == "slow" else ANSWER_S)
            self.reply(200, completion(body))
            service.answered()


def completion(body: dict[str, Any]) -> bytes:
    """Return an answer as the schema of a request asks."""
    choice = {"message": {"content": answer_to(body)}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def write_items(folder: Path) -> None:
    """Write a shop in which all items have the same picture, each with a title of its own."""
    picture = folder / "picture.jpg"
    picture.write_bytes(testing.picture(testing.products(1)[0]))
    item = {"category": "Dresses", "image": str(picture)}
    titles = [f"{kind} {number}" for kind, n in TITLES.items() for number in range(n)]
    items = [{"item_id": title.replace(" ", "-"), "title": title, **item} for title in titles]
    pq.write_table(pa.Table.from_pylist(items), folder / "items.parquet")


def run_job(folder: Path, url: str) -> list[str]:
    """Run the job in a process of its own; return what is wrong with its end."""
    command = [sys.executable, "-m", "tests.soak.job", str(folder), url, "local[2]"]
    with (folder / "log").open("wb") as log:
        try:
            done = subprocess.run(
                command, stdout=log, stderr=log, timeout=RUN_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return [f"the run hung for {RUN_TIMEOUT_S:.0f} s"]
    told = (folder / "log").read_text("utf-8", "replace")
    return [f"the run ended with {told[-500:]}"] if done.returncode else []


def wrong_rows(tables: Path) -> list[str]:
    """Return what is wrong in the tables: an item has one row, the one that its title asks for."""
    items = rows(tables / "items", "request_key", "title")
    described = rows(tables / "descriptions", "request_key", "status", "stage", "error_code")
    ends = {
        row["request_key"]: (row["status"], row["stage"], row["error_code"]) for row in described
    }
    found = []
    for item in items:
        kind = item["title"].partition(" ")[0]
        wanted = ("error", *ERRORS[kind]) if kind in ERRORS else ("ok", None, None)
        end = ends.get(item["request_key"])
        if end != wanted:
            found.append(f"'{item['title']}' ended as {end} and not as {wanted}")
    counts = {
        "requests ended otherwise": len(found),
        "items too few": sum(TITLES.values()) - len(items),
        "requests twice in descriptions": twice(tables / "descriptions", "request_key"),
        "requests twice in the log": twice(tables / "descriptions_log", "request_key"),
    }
    return found[:EXAMPLES] + [f"{n} {what}" for what, n in counts.items() if n]


def measure(folder: Path) -> dict[str, Any]:
    """Run the job once in this folder; return figures, and `problems`."""
    write_items(folder)
    started = time.monotonic()
    with Service() as service:
        problems = run_job(folder, service.address)
    seconds = time.monotonic() - started
    tables = folder / "tables" / "soak"
    if not (tables / "descriptions").exists():
        return {"problems": [*problems, "endpoint: nothing was described"]}
    described = Counter(row["status"] for row in rows(tables / "descriptions", "status"))
    problems += wrong_rows(tables)
    if not all(0 < n < MOST_REFUSALS for n in service.refused):
        problems.append(f"{service.refused} requests were refused in the busy minutes")
    return {
        "endpoint_rows": described.total(),
        "endpoint_errors": described["error"],
        "endpoint_asked": service.asked.total(),
        "endpoint_429s": sum(service.refused),
        "endpoint_429s_with_retry_after": service.refused[1],
        "endpoint_back_after_s": [round(s, 1) for s in service.back_after_s],
        "endpoint_seconds": round(seconds),
        "problems": [f"endpoint: {problem}" for problem in problems],
    }


def main() -> int:
    """Soak, print one line of JSON, and fail where anything was lost, doubled or wrong."""
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as name:
        found = measure(Path(name))
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())

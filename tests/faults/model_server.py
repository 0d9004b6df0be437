"""A stand-in for vLLM on a unix socket that dies, hangs or errs on demand; run as a file.

The words of a request say what happens: `die` kills the server, `hang` keeps the request for ever,
`hang-all` all of them from then on, `wait` keeps it where it is asked for the first time; `garbage`
is answered with what is no completion, `drop` not at all, `err` with status 500. Every request is
noted in the file `asked` when it comes and when it is answered.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

HUNG = threading.Event()
ASKED = Path("asked")
ANSWERED: list[str] = []
METRICS = (
    "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
    "num_preemptions_total", "prefix_cache_hits_total", "prefix_cache_queries_total",
    "prompt_tokens_total", "generation_tokens_total",
)  # fmt: skip
"""As vLLM names them."""


class Handler(BaseHTTPRequestHandler):
    """Answers /health and /v1/chat/completions."""

    def address_string(self) -> str:
        """Return a name: a unix socket's client has no address."""
        return "client"

    def log_message(self, *_: object) -> None:
        """Keep the log for what matters."""

    def do_GET(self) -> None:
        """Say that all is well, or, where asked for, what was done so far."""
        self._send(metrics() if self.path == "/metrics" else "{}")

    def do_POST(self) -> None:
        """Bring every request to `answer`."""
        self.answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def answer(self, body: str) -> None:
        """Answer, die or hang as the words of the request say."""
        words = str(json.loads(body)["messages"][0]["content"])
        is_first = not ASKED.exists() or f" asked {words}\n" not in ASKED.read_text()
        note("asked", words)
        time.sleep(0.05)
        if words.startswith("die"):
            sys.stderr.write("I was killed by a picture.\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        if words == "hang-all":
            HUNG.set()
        if words == "hang" or HUNG.is_set():
            time.sleep(60)
        if words.startswith("wait"):
            time.sleep(60 if is_first else 0.5)
        if words == "drop":
            return
        note("answered", words)
        if words == "garbage":
            self._send('["no", "completion"]')
        elif words == "err":
            self._send('{"error": "I am not well."}', 500)
        else:
            self.say(words)

    def say(self, words: str) -> None:
        """Send words as the model's answer."""
        ANSWERED.append(words)
        message = {"message": {"content": words}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        self._send(json.dumps({"choices": [message], "usage": usage}))

    def _send(self, text: str, status: int = 200) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def note(what: str, words: str) -> None:
    """Add a line to the file of what happened."""
    with ASKED.open("a") as file:
        file.write(f"{os.getpid()} {what} {words}\n")


def metrics() -> str:
    """Return a page as vLLM's; what counts tokens has the number of answers."""
    values = {name: len(ANSWERED) if "tokens" in name else 0 for name in METRICS}
    return "".join(f'vllm:{name}{{engine="0"}} {value}.0\n' for name, value in values.items())


class Server(socketserver.ThreadingUnixStreamServer):
    """One thread for each request."""

    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    with Server(sys.argv[1], Handler) as server:
        server.serve_forever()

"""A stand-in for vLLM on a unix socket that dies or hangs on demand; run as a file.

The words of a request say what happens: `die` kills the server, `hang` keeps the request for ever,
`hang-all` all of them from then on. Every request that comes is noted in the file `asked`.
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


class Handler(BaseHTTPRequestHandler):
    """Answers /health and /v1/chat/completions."""

    def address_string(self) -> str:
        """Return a name: a unix socket's client has no address."""
        return "client"

    def log_message(self, *_: object) -> None:
        """Keep the log for what matters."""

    def do_GET(self) -> None:
        """Say that all is well."""
        self._send({})

    def do_POST(self) -> None:
        """Bring every request to `answer`."""
        self.answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def answer(self, body: str) -> None:
        """Answer, die or hang as the words of the request say."""
        words = str(json.loads(body)["messages"][0]["content"])
        with Path("asked").open("a") as file:
            file.write(f"{os.getpid()} {words}\n")
        time.sleep(0.05)
        if words.startswith("die"):
            sys.stderr.write("I was killed by a picture.\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        if words == "hang-all":
            HUNG.set()
        if words == "hang" or HUNG.is_set():
            time.sleep(60)
        self.say(words)

    def say(self, words: str) -> None:
        """Send words as the model's answer."""
        message = {"message": {"content": words}, "finish_reason": "stop"}
        self._send({"choices": [message], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    def _send(self, data: object) -> None:
        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(socketserver.ThreadingUnixStreamServer):
    """One thread for each request."""

    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    with Server(sys.argv[1], Handler) as server:
        server.serve_forever()

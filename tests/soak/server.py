"""A stand-in for vLLM with vLLM's two processes: a front end on a unix socket, and an engine.

It answers like the fake engine, each request after 250 ms, and ends when its engine dies. Run as a
file: `server.py SOCKET`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

from vlm4rec_spark.descriptions.fake import answer_to
from vlm4rec_spark.descriptions.lifeline import die_with_parent

PR_SET_NAME = 15
ENGINE = b"VLLM::EngineCor"


class Handler(BaseHTTPRequestHandler):
    """Answers /health, /metrics and /v1/chat/completions."""

    def address_string(self) -> str:
        """Return a name: a unix socket's client has no address."""
        return "client"

    def log_message(self, *_: object) -> None:
        """Keep the log for what matters."""

    def do_GET(self) -> None:
        """Say that all is well."""
        self._send({})

    def do_POST(self) -> None:
        """Answer as the schema of the request asks."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(0.25)
        message = {"message": {"content": answer_to(body)}, "finish_reason": "stop"}
        self._send({"choices": [message], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    def _send(self, data: object) -> None:
        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(socketserver.ThreadingUnixStreamServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 128


def start_engine() -> int:
    """Fork the process that stands for vLLM's engine; return its number."""
    pid = os.fork()
    if pid == 0:
        die_with_parent()
        ctypes.CDLL(None).prctl(PR_SET_NAME, ENGINE)
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
    with Server(sys.argv[1], Handler) as server:
        server.serve_forever()

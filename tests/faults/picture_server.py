"""A stand-in for vLLM that answers as a request's schema asks, and dies of one word in its title.

Run as a file: `picture_server.py SOCKET`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from tests.faults import model_server
from vlm4rec_spark.descriptions.fake import answer_to

POISON = "poison"
ANSWER_S = 0.25


class Handler(model_server.Handler):
    """Answers /health, /metrics and /v1/chat/completions."""

    def answer(self, body: str) -> None:
        """Answer as the schema of the request asks, or die."""
        asked = json.loads(body)
        if POISON in asked["messages"][1]["content"][-1]["text"]:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(ANSWER_S)
        self.say(answer_to(asked))


if __name__ == "__main__":
    with model_server.Server(sys.argv[1], Handler) as server:
        server.serve_forever()

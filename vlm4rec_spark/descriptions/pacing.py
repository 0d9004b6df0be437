"""Requests and tokens per minute: each request waits for its turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

FIRST_GUESS_TOKENS = 1000.0
"""Tokens a request is thought to take before the first answer tells."""

MEMORY = 0.9
MINUTE_S = 60.0


class Pace:
    """Spreads requests evenly, so that neither rate is passed in any minute.

    The rates are those of one task: the job's, divided by the tasks that may run at a time.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with nothing spent; None is no limit."""
        self._request_s = MINUTE_S / requests_per_minute if requests_per_minute else 0.0
        self._token_s = MINUTE_S / tokens_per_minute if tokens_per_minute else 0.0
        self._clock = clock
        self._guess = FIRST_GUESS_TOKENS
        self._next_request = self._next_tokens = clock()

    async def admit(self) -> None:
        """Wait until one more request may be sent."""
        wait_s = self.reserve()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def reserve(self) -> float:
        """Take the next turn, and return the seconds until it comes."""
        now = self._clock()
        turn = max(now, self._next_request, self._next_tokens)
        self._next_request = turn + self._request_s
        self._next_tokens = turn + self._guess * self._token_s
        return turn - now

    def spent(self, tokens: int) -> None:
        """Correct the guess a turn was taken with by what the answer really took."""
        self._next_tokens += (tokens - self._guess) * self._token_s
        self._guess = MEMORY * self._guess + (1 - MEMORY) * tokens

"""Which endpoint gets the next request, and how many each gets at a time.

Each endpoint has a limit of its own that follows it, as TCP follows a line: it grows with every
answer, is halved when the endpoint says it is busy, and an endpoint that fails three times in a row
is left alone for a while, as long as there is another, and then tried with one request. One that
says how long to wait (Retry-After) is left alone that long.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vlm4rec_spark.descriptions.replies import BROKEN, BUSY, Refusal

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.engine import Reply

FIRST_LIMIT = 8
FAILURES_TO_CLOSE = 3
FIRST_CLOSED_S = 1.0
LONGEST_CLOSED_S = 30.0
LONGEST_POLL_S = 1.0


@dataclass
class Endpoint:
    """One URL and what is known of it; `limit` is how many requests it gets at a time."""

    url: str
    limit: float
    calm_limit: float
    in_flight: int = 0
    sent: int = 0
    failures: int = 0
    closed_until: float = 0.0
    lowered_at: float = -1.0

    @property
    def has_room(self) -> bool:
        """Tell whether one more request may be sent."""
        return self.in_flight < max(1, int(self.limit))


def base_of(url: str) -> str:
    """Return the address below which an endpoint has its paths.

    A path is taken as it stands, as not every provider has its API below /v1; a bare host gets it.

    >>> base_of("http://a:8000"), base_of("https://b/serving-endpoints/")
    ('http://a:8000/v1', 'https://b/serving-endpoints')
    """
    bare = url.rstrip("/")
    return bare if urlsplit(bare).path else f"{bare}/v1"


class EndpointPool:
    """Lends endpoints to requests: the least loaded of those that are well."""

    def __init__(
        self,
        urls: Sequence[str],
        most: int,
        *,
        is_adaptive: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the endpoints.

        Args:
            urls: base URLs.
            most: requests in flight at one endpoint, at most.
            is_adaptive: follow the endpoints; else each always gets `most`.
            clock: seconds that only grow.
        """
        first = min(most, FIRST_LIMIT) if is_adaptive else most
        self.endpoints = [Endpoint(url, float(first), float(most)) for url in urls]
        self._most = float(most)
        self._is_adaptive = is_adaptive
        self._clock = clock
        self._changed = asyncio.Event()

    async def take(self) -> Endpoint:
        """Wait until an endpoint has room, and count the request there."""
        while (endpoint := self.lend()) is None:
            now = self._clock()
            reopens = [e.closed_until - now for e in self.endpoints if e.closed_until > now]
            self._changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                patience_s = max(0.01, min([*reopens, LONGEST_POLL_S]))
                await asyncio.wait_for(self._changed.wait(), patience_s)
        return endpoint

    def lend(self) -> Endpoint | None:
        """Count a request at the least loaded endpoint that has room now; None: there is none."""
        free = self._free()
        if not free:
            return None
        chosen = min(free, key=lambda e: (e.in_flight / e.limit, e.sent))
        chosen.in_flight += 1
        chosen.sent += 1
        return chosen

    @property
    def has_room(self) -> bool:
        """Tell whether `take` would not have to wait."""
        return bool(self._free())

    def _free(self) -> list[Endpoint]:
        now = self._clock()
        return [e for e in self.endpoints if e.closed_until <= now and e.has_room]

    def give_back(self, endpoint: Endpoint, sent_at: float, outcome: Reply | Refusal) -> None:
        """Note how a request that was sent at `sent_at` ended."""
        endpoint.in_flight -= 1
        if isinstance(outcome, Refusal):
            asked_for = self._clock() + outcome.wait_s
            endpoint.closed_until = max(endpoint.closed_until, asked_for)
        if self._is_adaptive:
            self._learn(endpoint, sent_at, outcome)
        self._changed.set()

    def _learn(self, endpoint: Endpoint, sent_at: float, outcome: Reply | Refusal) -> None:
        now = self._clock()
        if isinstance(outcome, Refusal) and outcome.kind == BUSY:
            self._lower(endpoint, sent_at, now)
        elif isinstance(outcome, Refusal) and outcome.kind == BROKEN:
            # Not down to one at a time: where all is lost, that has to show soon.
            self._lower(endpoint, sent_at, now, least=min(self._most, FIRST_LIMIT))
            endpoint.failures += 1
            doubled = endpoint.failures - FAILURES_TO_CLOSE
            if doubled >= 0 and self._has_other(endpoint, now):
                closed_s = min(LONGEST_CLOSED_S, FIRST_CLOSED_S * 2.0 ** min(doubled, 10))
                endpoint.closed_until = max(endpoint.closed_until, now + closed_s)
                endpoint.limit = 1.0
        else:
            # A request that is wrong in itself is an answer too: the endpoint is well.
            endpoint.failures = 0
            grown = 1.0 if endpoint.limit < endpoint.calm_limit else 1.0 / endpoint.limit
            endpoint.limit = min(self._most, endpoint.limit + grown)

    def _has_other(self, endpoint: Endpoint, now: float) -> bool:
        return any(e is not endpoint and e.closed_until <= now for e in self.endpoints)

    def _lower(self, endpoint: Endpoint, sent_at: float, now: float, least: float = 1.0) -> None:
        # Many requests of one moment are refused together: they count once.
        if sent_at <= endpoint.lowered_at:
            return
        endpoint.limit = max(least, endpoint.limit / 2)
        endpoint.calm_limit = endpoint.limit
        endpoint.lowered_at = now

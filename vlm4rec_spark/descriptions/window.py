"""A bounded window of work in flight over an input that arrives in pieces.

A synchronous call per Arrow batch leaves an engine idle while the last request of a batch ends.
Here the next input is pulled as soon as one result is out, across the borders of batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from typing_extensions import Self

Item = TypeVar("Item")
Result = TypeVar("Result")

CANCEL_S = 10.0
"""Patience with work that is told to end."""


class LoopThread:
    """An asyncio event loop in a thread of its own, with a few threads for blocking work."""

    def __init__(self, threads: int = 8) -> None:
        """Prepare the loop; `threads` bounds what `asyncio.to_thread` runs at once."""
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(threads, "vlm4rec-prepare"))
        # A daemon: a Python worker that is told to go must not wait for a slow server.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="vlm4rec-loop", daemon=True
        )

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what still runs and end the thread."""
        # In Python 3.10 it is not yet the same as the built-in TimeoutError.
        with contextlib.suppress(FutureTimeoutError):
            self.submit(_cancel_others()).result(timeout=CANCEL_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=CANCEL_S)
        if not self._thread.is_alive():
            self._loop.close()

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


async def _cancel_others() -> None:
    others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@dataclass(frozen=True)
class WindowLimits:
    """How much work may be in flight: requests, and the bytes they hold in memory.

    Until the first answer is out no more than `first` requests are under way: an engine that cannot
    serve them, or fills the memory, shows it before hundreds wait on it.
    """

    requests: int
    max_bytes: int = 256 * 2**20
    first: int = 8


def windowed(
    items: Iterable[Item],
    work: Callable[[Item], Coroutine[Any, Any, Result]],
    limits: WindowLimits,
    loop: LoopThread,
    size: Callable[[Item], int] = lambda _: 0,
    is_answer: Callable[[Result], bool] = lambda _: True,
) -> Iterator[Result]:
    """Yield the results of `work` in the order in which they end.

    At most `limits.requests` items, and `limits.max_bytes` by `size`, are taken and not yet
    yielded; an item larger than the limit goes alone. Results that `is_answer` does not
    take for one do not open the window beyond `limits.first`. `items` is only touched by the
    calling thread, as Spark requires of its input iterators.

    Raises:
        Exception: what `work` raised, after cancelling the rest.
    """
    done: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
    running: dict[Future[Result], int] = {}
    source = iter(items)
    end = object()
    item = next(source, end)
    held = 0
    most = min(limits.requests, limits.first)
    try:
        while item is not end or running:
            while item is not end and len(running) < most:
                bytes_more = size(cast("Item", item))
                if running and held + bytes_more > limits.max_bytes:
                    break
                future = loop.submit(work(cast("Item", item)))
                running[future] = bytes_more
                held += bytes_more
                future.add_done_callback(done.put)
                item = next(source, end)
            finished = done.get()
            held -= running.pop(finished)
            result = finished.result()
            if is_answer(result):
                most = limits.requests
            yield result
    finally:
        for future in running:
            future.cancel()

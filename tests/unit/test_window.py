from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm4rec_spark.descriptions import window
from vlm4rec_spark.descriptions.window import LoopThread, WindowLimits, windowed


@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 3))
@settings(max_examples=25)
def test_every_item_comes_out_once_and_the_window_is_never_passed(
    n: int, limit: int, seed: int
) -> None:
    running = most = 0

    async def work(i: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep((i * 7 + seed) % 5 / 5000)
        running -= 1
        return i

    with LoopThread() as loop:
        results = list(windowed(range(n), work, WindowLimits(limit), loop))
    assert sorted(results) == list(range(n))
    assert most <= limit


def test_results_come_in_the_order_in_which_they_end() -> None:
    async def work(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    with LoopThread() as loop:
        assert list(windowed([0.2, 0.01, 0.1], work, WindowLimits(3), loop)) == [0.01, 0.1, 0.2]


def test_a_slow_request_does_not_hold_up_the_next_batch() -> None:
    async def work(i: int) -> int:
        await asyncio.sleep(0.3 if i % 10 == 9 else 0.01)
        return i

    batches = [range(10 * b, 10 * b + 10) for b in range(4)]
    started = time.perf_counter()
    with LoopThread() as loop:
        rows = (i for batch in batches for i in batch)
        assert len(list(windowed(rows, work, WindowLimits(10), loop))) == 40
    assert time.perf_counter() - started < 0.9  # batch by batch it would be 1.2 s


def test_the_input_is_only_touched_by_the_calling_thread() -> None:
    threads = set()

    def source() -> Iterator[int]:
        for i in range(20):
            threads.add(threading.get_ident())
            yield i

    async def work(i: int) -> int:
        return i

    with LoopThread() as loop:
        list(windowed(source(), work, WindowLimits(4), loop))
    assert threads == {threading.get_ident()}


def test_an_exception_in_the_work_ends_the_stream_and_cancels_the_rest() -> None:
    cancelled = []

    async def work(i: int) -> int:
        if i == 0:
            await asyncio.sleep(0.05)
            raise RuntimeError("the engine is gone")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(i)
            raise
        return i

    started = time.perf_counter()
    with LoopThread() as loop, pytest.raises(RuntimeError, match="the engine is gone"):
        list(windowed(range(5), work, WindowLimits(5), loop))
    assert sorted(cancelled) == [1, 2, 3, 4]
    assert time.perf_counter() - started < 5


def test_work_that_will_not_be_cancelled_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(30)

    monkeypatch.setattr(window, "CANCEL_S", 0.05)
    started = time.perf_counter()
    with LoopThread() as loop:
        loop.submit(stubborn())
    assert time.perf_counter() - started < 5


def test_a_reader_that_stops_early_leaves_no_thread_behind() -> None:
    async def work(i: int) -> int:
        await asyncio.sleep(0.001)
        return i

    before = threading.active_count()
    with LoopThread() as loop:
        assert next(windowed(range(1000), work, WindowLimits(8), loop)) is not None
    assert threading.active_count() <= before


def test_no_more_than_the_first_few_are_sent_before_an_answer_is_out() -> None:
    sent: list[int] = []
    at_first_answer: list[int] = []

    async def work(i: int) -> int:
        sent.append(i)
        await asyncio.sleep(0.05 if i == 0 else 0.2)
        if not at_first_answer:
            at_first_answer.append(len(sent))
        return i

    with LoopThread() as loop:
        results = list(windowed(range(100), work, WindowLimits(64, first=3), loop))
    assert at_first_answer == [3]
    assert sorted(results) == list(range(100))


def test_items_that_never_reached_the_engine_do_not_open_the_window() -> None:
    running = most_before = 0
    is_answered = False

    async def work(i: int) -> int:
        nonlocal running, most_before, is_answered
        running += 1
        if not is_answered:
            most_before = max(most_before, running)
        await asyncio.sleep(0.001 if i < 20 else 0.1)  # the first 20 have no picture
        running -= 1
        is_answered |= i >= 20
        return i

    limits = WindowLimits(64, first=3)
    with LoopThread() as loop:
        done = windowed(range(100), work, limits, loop, is_answer=lambda i: i >= 20)
        assert sorted(done) == list(range(100))
    assert most_before == 3


@given(st.lists(st.integers(0, 100), max_size=40), st.integers(1, 120))
@settings(max_examples=25)
def test_the_bytes_in_flight_stay_under_their_limit(sizes: list[int], limit: int) -> None:
    held = most = alone = 0

    async def work(n: int) -> int:
        nonlocal held, most, alone
        held += n
        most, alone = max(most, held), max(alone, n)
        await asyncio.sleep(n % 3 / 2000)
        held -= n
        return n

    limits = WindowLimits(16, max_bytes=limit)
    with LoopThread() as loop:
        results = list(windowed(sizes, work, limits, loop, size=lambda n: n))
    assert sorted(results) == sorted(sizes)
    assert most <= max(limit, alone)

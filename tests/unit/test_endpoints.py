from __future__ import annotations

import pytest

from vlm4rec_spark.descriptions.endpoints import Endpoint, EndpointPool
from vlm4rec_spark.descriptions.engine import Reply
from vlm4rec_spark.descriptions.pacing import Pace
from vlm4rec_spark.descriptions.replies import BROKEN, BUSY, FINAL, Refusal, refusal

ANSWER = Reply("{}", "stop", 100, 0, 20, 1.0)
SLOW_DOWN = refusal("http_429", "slow down", BUSY)
DOWN = refusal("connect", "nobody there", BROKEN)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fill(pool: EndpointPool) -> list[Endpoint]:
    taken = []
    while (one := pool.lend()) is not None:
        taken.append(one)
    return taken


def finish(pool: EndpointPool, taken: list[Endpoint], outcome: Reply | Refusal, at: float) -> None:
    for endpoint in taken:
        pool.give_back(endpoint, at, outcome)


def test_the_limit_grows_with_answers_up_to_the_most() -> None:
    clock = Clock()
    pool = EndpointPool(["a"], 20, clock=clock)
    sizes = []
    for _ in range(4):
        taken = fill(pool)
        sizes.append(len(taken))
        clock.now += 1
        finish(pool, taken, ANSWER, clock.now - 1)
    assert sizes == [8, 16, 20, 20]


def test_many_refusals_of_one_moment_halve_the_limit_once() -> None:
    clock = Clock()
    pool = EndpointPool(["a"], 8, clock=clock)
    taken = fill(pool)
    sent_at, clock.now = clock.now, clock.now + 1
    finish(pool, taken, SLOW_DOWN, sent_at)
    assert len(fill(pool)) == 4


def test_after_a_refusal_the_limit_grows_by_one_a_round() -> None:
    clock = Clock()
    pool = EndpointPool(["a"], 32, clock=clock)
    finish(pool, fill(pool), SLOW_DOWN, clock.now)
    sizes = []
    for _ in range(3):
        clock.now += 1
        taken = fill(pool)
        sizes.append(len(taken))
        finish(pool, taken, ANSWER, clock.now)
    assert sizes == [4, 4, 5]


def test_an_endpoint_that_asks_to_wait_is_left_alone_that_long() -> None:
    clock = Clock()
    pool = EndpointPool(["a", "b"], 8, clock=clock)
    first = pool.lend()
    assert first is not None
    pool.give_back(first, clock.now, refusal("http_429", "", BUSY, wait_s=5.0))
    assert {endpoint.url for endpoint in fill(pool)} == {"b"}
    clock.now += 6
    assert {endpoint.url for endpoint in fill(pool)} == {first.url}


def test_the_only_endpoint_is_left_alone_too_where_it_asks_to_wait() -> None:
    clock = Clock()
    pool = EndpointPool(["a"], 8, is_adaptive=False, clock=clock)
    first = pool.lend()
    assert first is not None
    pool.give_back(first, clock.now, refusal("http_503", "", BROKEN, wait_s=5.0))
    assert not pool.has_room
    assert pool.lend() is None
    clock.now += 5
    assert pool.has_room


def test_an_endpoint_that_is_down_is_tried_again_with_one_request() -> None:
    clock = Clock()
    pool = EndpointPool(["a", "b"], 8, clock=clock)
    down = [endpoint for endpoint in fill(pool) if endpoint.url == "a"]
    finish(pool, down, DOWN, clock.now)
    assert fill(pool) == []
    clock.now += 60
    probe = fill(pool)
    assert [endpoint.url for endpoint in probe] == ["a"]
    finish(pool, probe, ANSWER, clock.now)
    assert len(fill(pool)) == 2


def test_the_only_endpoint_is_never_closed_so_that_its_end_shows_soon() -> None:
    clock = Clock()
    pool = EndpointPool(["a"], 64, clock=clock)
    for _ in range(5):
        clock.now += 1
        finish(pool, fill(pool), DOWN, clock.now)
    assert len(fill(pool)) == 8


def test_the_least_loaded_endpoint_is_chosen() -> None:
    pool = EndpointPool(["a", "b"], 8)
    taken = [pool.lend() for _ in range(6)]
    assert [e.url for e in taken if e] == ["a", "b", "a", "b", "a", "b"]
    for endpoint in taken:
        if endpoint and endpoint.url == "b":
            pool.give_back(endpoint, 0.0, ANSWER)
    assert [e.url for e in (pool.lend() for _ in range(3)) if e] == ["b", "b", "b"]


def test_a_request_that_is_wrong_in_itself_does_not_slow_the_rest() -> None:
    pool = EndpointPool(["a"], 16)
    finish(pool, fill(pool), refusal("http_400", "bad picture", FINAL), 0.0)
    assert len(fill(pool)) == 16


def test_a_server_of_our_own_always_gets_all_it_can_take() -> None:
    pool = EndpointPool(["a"], 16, is_adaptive=False)
    taken = fill(pool)
    assert len(taken) == 16
    finish(pool, taken, SLOW_DOWN, 0.0)
    assert len(fill(pool)) == 16


def test_requests_wait_for_their_turn_in_the_minute() -> None:
    clock = Clock()
    pace = Pace(requests_per_minute=60, clock=clock)
    assert [pace.reserve() for _ in range(3)] == pytest.approx([0, 1, 2])
    clock.now += 10
    assert pace.reserve() == pytest.approx(0)


def test_tokens_are_counted_as_they_turn_out() -> None:
    clock = Clock()
    pace = Pace(tokens_per_minute=60_000, clock=clock)
    assert pace.reserve() == pytest.approx(0)
    pace.spent(4000)  # it was taken for 1000: 3000 more are 3 s
    assert pace.reserve() == pytest.approx(4)


def test_without_rates_nobody_waits() -> None:
    pace = Pace()
    assert [pace.reserve() for _ in range(100)] == pytest.approx([0.0] * 100, abs=1e-3)

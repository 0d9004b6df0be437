"""Describe pictures that come in batches, and give the answers back in the same order."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.descriptions.describer import Describer
from vlm4rec_spark.descriptions.requests import request_key
from vlm4rec_spark.descriptions.window import LoopThread, WindowLimits, windowed
from vlm4rec_spark.descriptions.worker import PREPARING_THREADS, is_answered

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.describer import WorkerSpec
    from vlm4rec_spark.descriptions.requests import RequestRules

Answer = dict[str, Any]


def describe_in_order(
    spec: WorkerSpec, batches: Iterable[Iterable[bytes | None]]
) -> Iterator[list[Answer | None]]:
    """Yield one list of rows of `descriptions_log` for each batch; None stands for no picture.

    Later batches are read while answers of the first are still out, so the engine stays busy.

    Raises:
        EngineError: the engine cannot be started or reached at all.
    """
    sizes: deque[int] = deque()
    answers: dict[int, Answer | None] = {}

    def numbered() -> Iterator[tuple[int, bytes | None]]:
        number = 0
        for batch in batches:
            pictures = list(batch)
            sizes.append(len(pictures))
            for picture in pictures:
                yield number, picture
                number += 1

    with LoopThread(PREPARING_THREADS) as loop:
        engine = spec.engine.open()
        describer = Describer(spec, engine)

        async def work(item: tuple[int, bytes | None]) -> tuple[int, Answer | None]:
            number, picture = item
            if picture is None:
                return number, None
            return number, await describer.describe(_request(spec.rules, bytes(picture)))

        limits = WindowLimits(spec.window, spec.window_bytes)
        first = 0
        try:
            for number, answer in windowed(numbered(), work, limits, loop, _weight, _is_answered):
                answers[number] = answer
                while sizes and all(n in answers for n in range(first, first + sizes[0])):
                    size = sizes.popleft()
                    yield [answers.pop(n) for n in range(first, first + size)]
                    first += size
            yield from ([] for _ in sizes)  # empty batches at the end
        finally:
            loop.submit(engine.aclose()).result(timeout=10)


def _weight(item: tuple[int, bytes | None]) -> int:
    return len(item[1] or b"")


def _is_answered(found: tuple[int, Answer | None]) -> bool:
    return is_answered(found[1] or {})


def _request(rules: RequestRules, picture: bytes) -> dict[str, Any]:
    """Return what the describe stage would ask about an item with this picture alone."""
    sha256 = hashlib.sha256(picture).hexdigest()
    return {
        "request_key": request_key(rules, [sha256], None, None),
        "pictures": [{"uri": None, "sha256": sha256, "content": picture}],
        "category": None,
        "title": None,
        "attempt": 1,
    }

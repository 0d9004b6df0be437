"""How sure the model was of each attribute, and how far that can be trusted."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*(:?)', re.DOTALL)
"""A JSON string, and the colon behind it where it is a key."""

BINS = 10


def value_confidences(
    text: str, tokens: Sequence[tuple[bytes, float]], free_text: frozenset[str] = frozenset()
) -> dict[str, float]:
    """Return key -> confidence in 0..1 for each string value of a flat JSON answer.

    The confidence is the probability the model gave to the whole value: the product over the
    tokens that hold a part of it. For free text, whose product only tells its length, it is the
    geometric mean. The probabilities are the model's own, before the schema forbids any token.

    Args:
        text: the answer.
        tokens: its tokens in order as (bytes, log-probability); end markers may follow.
        free_text: keys of free text.

    Returns:
        Nothing where the tokens do not spell the answer.
    """
    answer = text.encode()
    if not tokens or not b"".join(token for token, _ in tokens).startswith(answer):
        return {}
    logprobs = [logprob for _, logprob in tokens]
    ends = list(accumulate(len(token) for token, _ in tokens))
    begins = [0, *ends[:-1]]
    found = {}
    for key, start, end in _values(answer):
        inside = logprobs[bisect_right(ends, start) : bisect_left(begins, end)]
        if inside:
            total = sum(inside) / (len(inside) if key in free_text else 1)
            found[key] = min(1.0, math.exp(total))
    return found


def _values(answer: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield key, start and end (in bytes, without the quotes) of each string value."""
    key: bytes | None = None
    for match in STRING.finditer(answer):
        if match[2]:
            key = match[1]
        elif key is not None:
            yield key.decode("utf-8", "replace"), match.start(1), match.end(1)
            key = None


@dataclass(frozen=True)
class ReliabilityBin:
    """Values of about one confidence: how sure the model was, and how often it was right."""

    n: int
    confidence: float
    accuracy: float


def reliability(
    confidences: Sequence[float], is_right: Sequence[bool], bins: int = BINS
) -> list[ReliabilityBin]:
    """Return the reliability table over bins of equal width, empty ones left out."""
    sure, right = np.asarray(confidences, np.float64), np.asarray(is_right, np.float64)
    place = np.minimum((sure * bins).astype(np.int64), bins - 1)
    return [
        ReliabilityBin(
            int((place == b).sum()),
            float(sure[place == b].mean()),
            float(right[place == b].mean()),
        )
        for b in np.unique(place)
    ]


def calibration_error(table: Sequence[ReliabilityBin]) -> float:
    """Return the expected calibration error (Naeini et al., 2015): the mean gap, by rows.

    >>> calibration_error([ReliabilityBin(1, 0.5, 1.0), ReliabilityBin(3, 0.9, 0.9)])
    0.125
    """
    n = sum(row.n for row in table)
    return sum(row.n * abs(row.confidence - row.accuracy) for row in table) / n if n else 0.0

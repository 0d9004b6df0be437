"""A task's memory does not grow with the pictures it has described (100,000 in `make soak`)."""

from __future__ import annotations

import pytest

from tests.soak import memory

pytestmark = pytest.mark.faults
ROWS = 3000
MOST_GROWTH_MB = 6.0
"""The rows alone, kept, would take 13 MB."""


def test_a_task_keeps_nothing_of_the_rows_it_has_given_back() -> None:
    found = memory.measure(ROWS)
    assert found["last_mb"] - found["first_mb"] < MOST_GROWTH_MB

"""Errors that come out of Spark as pages of Java, turned into one sentence that helps."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from vlm4rec_spark import errors
from vlm4rec_spark.errors import BusyError, MissingExtraError, StorageError, Vlm4RecError

OURS = re.compile(r"vlm4rec_spark\.errors\.(\w+): (.*?)(?=\n\n|\n\s+at |\Z)", re.DOTALL)
"""One of our errors, raised in a worker: its name and its message."""

DISK_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|DiskFull|File too large", re.IGNORECASE
)
CONFLICT = re.compile(r"\[?(DELTA_CONCURRENT_\w+|Concurrent\w+Exception)")
WRITE_ATTEMPTS = 5

Written = TypeVar("Written")


def despite_others(write: Callable[[], Written]) -> Written:
    """Write, and again where another writer's commit came in between.

    Rows of several jobs are in one table, and Delta may let only one of them be written at a time.
    """
    attempt = 1
    while True:
        try:
            return write()
        except Exception as error:
            if attempt == WRITE_ATTEMPTS or not CONFLICT.search(str(error)):
                raise
        attempt += 1
        time.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - apart from the other writer


def translated(error: Exception) -> Vlm4RecError | None:
    """Return what the error means in our words; None where it is not known."""
    text = str(error)
    ours = OURS.search(text)
    if ours:
        kind = getattr(errors, ours[1], Vlm4RecError)
        # It is built from other arguments than its message.
        kind = Vlm4RecError if kind is MissingExtraError else kind
        found: Vlm4RecError = kind(ours[2].strip())
        return found
    if DISK_FULL.search(text):
        return StorageError(
            "A disk is full: the one of the tables, or Spark's temporary one (spark.local.dir). "
            "What was committed is whole; make room and run the job again, it goes on from there."
        )
    if CONFLICT.search(text):
        return BusyError(
            "Another writer changed one of the tables while this job committed to it. What was "
            "committed is whole; run the job again, it goes on from there."
        )
    return None


@contextlib.contextmanager
def in_our_words() -> Iterator[None]:
    """Raise errors of Spark as ours where their cause is known; the original is kept as cause."""
    try:
        yield
    except Vlm4RecError:
        raise
    except Exception as error:
        known = translated(error)
        if known is None:
            raise
        raise known from error

"""Errors that come out of Spark as pages of Java, turned into one sentence that helps."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from vlm4rec_spark import errors
from vlm4rec_spark.errors import (
    BusyError,
    ConfigError,
    MissingExtraError,
    SparkMemoryError,
    StorageError,
    Vlm4RecError,
)

OURS = re.compile(r"vlm4rec_spark\.errors\.(\w+): (.*?)(?=\n\n|\n\s+at |\Z)", re.DOTALL)
"""One of our errors, raised in a worker: its name and its message."""

DISK_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|DiskFull|File too large", re.IGNORECASE
)
HEAP_FULL = re.compile(
    r"Java heap space|GC overhead limit|SparkOutOfMemoryError|UNABLE_TO_ACQUIRE_MEMORY"
    r"|Not enough memory to build and broadcast"
)
"""Of Java alone: a GPU whose memory is full needs other advice."""
JAVA_GONE = re.compile(
    r"Error while sending or receiving|Answer from Java side is empty"
    r"|SparkContext was shut down|stopped SparkContext|dagScheduler\(\)\" is null"
)
"""What is seen after Java ended: on one machine it ends where its memory is full."""
CONFLICT = re.compile(
    r"\[?(DELTA_CONCURRENT_\w+|Concurrent\w+Exception"
    r"|DELTA_(?:METADATA|PROTOCOL)_CHANGED\b|(?:Metadata|Protocol)ChangedException)"
)
NO_CATALOG = re.compile(r"REQUIRES_SINGLE_PART_NAMESPACE|CATALOG_NOT_FOUND|NO_SUCH_CATALOG")
GOES_ON = "What was committed is whole; run the job again, it goes on from there."
MORE_MEMORY = (
    "give it more with `--spark-conf spark.driver.memory=8g` (on a cluster spark.executor.memory, "
    "too), or let it do less at a time with `--spark-conf spark.sql.shuffle.partitions=64` or "
    f"fewer tasks (`--master local[2]`). {GOES_ON}"
)
NO_ROOM = (
    "A disk is full: the one of the tables, or Spark's temporary one (spark.local.dir). What was "
    "committed is whole; make room and run the job again, it goes on from there."
)
ENDED = (
    "Spark's Java ended while the job ran, and its last lines say why. Without a line it was "
    "killed, as the machine's own memory was full: take fewer tasks. Where they say 'Java heap "
    f"space', {MORE_MEMORY}"
)
OVERTAKEN = f"Another writer changed one of the tables while this job committed to it. {GOES_ON}"
CATALOG_MISSING = (
    "This Spark session has no catalogue of the name in tables.catalog: give the name of one that "
    "it has. Where there is none, as on a machine of your own, leave tables.catalog out and name a "
    "folder in tables.location."
)
KNOWN: tuple[tuple[re.Pattern[str], type[Vlm4RecError], str], ...] = (
    (DISK_FULL, StorageError, NO_ROOM),
    (HEAP_FULL, SparkMemoryError, f"Spark's Java ran out of memory: {MORE_MEMORY}"),
    (JAVA_GONE, SparkMemoryError, ENDED),
    (CONFLICT, BusyError, OVERTAKEN),
    (NO_CATALOG, ConfigError, CATALOG_MISSING),
)
"""What Spark says, and what it means; the first one that fits counts."""
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
    return next((kind(told) for seen, kind, told in KNOWN if seen.search(text)), None)


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

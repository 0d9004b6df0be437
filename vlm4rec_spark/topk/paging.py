"""What the kernel is told of how a task reads a memory-mapped matrix that memory cannot hold.

Unasked it reads 128 KB around each row that is not there: what is read for the histories of a block
of users, wherever they are, would be the whole matrix.
"""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm4rec_spark.topk.engines.interface import Vectors


@contextmanager
def scanning(vectors: Vectors, part: range) -> Iterator[None]:
    """Have a part of the rows read at once and the others one by one, until the block ends.

    Rows in memory, (n, d), stay as they are.
    """
    base: object = vectors
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap):
        yield
        return
    base.madvise(mmap.MADV_RANDOM)
    if part:
        row = vectors.strides[0]
        header = len(base) - len(vectors) * row
        start = (header + part.start * row) // mmap.PAGESIZE * mmap.PAGESIZE
        base.madvise(mmap.MADV_WILLNEED, start, header + part.stop * row - start)
    try:
        yield
    finally:
        base.madvise(mmap.MADV_NORMAL)

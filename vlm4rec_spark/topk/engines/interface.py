"""What an engine does: find the rows with the largest inner product that may be listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.selection import Best

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Masks:
    """What each query may not be given.

    Query q hides the rows `hidden[starts[q]:starts[q + 1]]` (ascending, none twice), and may be
    given the rows where `allowed[group[q]]` is true.
    """

    hidden: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    allowed: npt.NDArray[np.bool_]
    """(groups, n) bool."""
    group: npt.NDArray[np.int64]
    """(queries,) line of `allowed`."""

    @staticmethod
    def nothing(queries: int, n: int) -> Masks:
        """Return masks that hide nothing from any query."""
        return Masks(
            np.zeros(0, np.int64),
            np.zeros(queries + 1, np.int64),
            np.ones((1, n), bool),
            np.zeros(queries, np.int64),
        )

    def of(self, queries: npt.NDArray[np.int64]) -> Masks:
        """Return the masks of some of the queries, in the order given."""
        sizes = np.diff(self.starts)[queries]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
        hidden = self.hidden[np.repeat(self.starts[queries], sizes) + within]
        return Masks(hidden, starts.astype(np.int64), self.allowed, self.group[queries])

    def allow(self, queries: npt.NDArray[np.int64], rows: Rows) -> npt.NDArray[np.bool_]:
        """Tell for each pair of a query and a row, (m,) both, whether it may be given."""
        n = self.allowed.shape[1]
        owner = np.repeat(np.arange(len(self.group)), np.diff(self.starts))
        hidden = np.append(owner * n + self.hidden, -1)  # ascending, but for the end
        asked = queries * n + rows
        is_hidden = hidden[np.searchsorted(hidden[:-1], asked)] == asked
        may: npt.NDArray[np.bool_] = self.allowed[self.group[queries], rows] & ~is_hidden
        return may

    def eligible(self) -> npt.NDArray[np.int64]:
        """Return how many rows each query may be given, (queries,) int64."""
        queries = np.repeat(np.arange(len(self.group)), np.diff(self.starts))
        lost = self.allowed[self.group[queries], self.hidden]
        taken = np.bincount(queries, weights=lost, minlength=len(self.group))
        left: npt.NDArray[np.int64] = self.allowed.sum(1)[self.group] - taken.astype(np.int64)
        return left


class Engine(Protocol):
    """One way to search. Queries and rows are unit float32; one thread, Spark runs many tasks."""

    def nearest(self, queries: Vectors, k: int, masks: Masks) -> Rows:
        """Return (queries, k) row numbers in no order, none twice, -1 for a place left empty.

        An engine fills min(k, eligible) places of every query; how many of them are among the
        best k rows is its recall.
        """


class PartedEngine(Engine, Protocol):
    """An engine that can also search a part of the rows; see `parts`."""

    def within(self, part: range, queries: Vectors, k: int, masks: Masks) -> Best:
        """Return the k best rows that `nearest` would look at first and that lie in a part.

        The best of all parts that make up the rows are what `nearest` finds; but where these are
        fewer than min(k, eligible), it looks further.
        """

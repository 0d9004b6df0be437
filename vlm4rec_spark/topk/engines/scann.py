"""ScaNN behind the interface: it knows no masks, so it is asked for more and filtered.

ScaNN keeps what it loads in the heap, a copy per process; so it is given the codes alone, a
sixteenth of the matrix, and the candidates they choose are scored with the memory-mapped matrix
that all processes of a node share. It searches with as many threads as a task has CPUs: one, as
Spark is parallel over tasks; with `spark.task.cpus` at an executor's cores there is one process,
and so one copy of the codes, per node.
"""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.errors import EngineError, MissingExtraError
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.selection import best_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vlm4rec_spark.topk.engines.interface import Masks, Rows, Vectors

BRUTE_FORCE_BELOW = 20_000
"""Under this ScaNN's own brute force is faster than its tree."""
ANISOTROPY = 2.5
TRAINING_ROWS = 100_000
DEEPEST = 1024
"""A query that hides more than this is searched exactly: ScaNN's cost grows with the depth."""
MARGIN = 16


class ScannFiles:
    """ScaNN's index loaded into this process."""

    def __init__(self, folder: str, threads: int = 1) -> None:
        """Load what `build_index` wrote.

        Args:
            folder: where it wrote to.
            threads: that search a block of queries.

        Raises:
            MissingExtraError: ScaNN is not installed.
        """
        index = scann_ops().load_searcher(folder)
        self.search = index.search_batched
        if threads > 1:
            index.set_num_threads(threads)  # unless told, it takes all CPUs of the machine
            self.search = index.search_batched_parallel

    def opened(self, vectors: Vectors, width: int) -> ScannEngine:
        """Return an engine over the (n, d) unit rows it was built from."""
        return ScannEngine(self.search, vectors, width)


class ScannEngine:
    """ScaNN searching `width` leaves; what masks leave too short is searched exactly."""

    def __init__(self, search: Callable[..., Any], vectors: Vectors, width: int) -> None:
        self.search = search
        self.exact = ExactEngine(vectors)
        self.n = len(vectors)
        self.width = width

    def nearest(self, queries: Vectors, k: int, masks: Masks) -> Rows:
        """See `Engine`.

        Raises:
            EngineError: a query is not finite; ScaNN would answer with row 0.
        """
        if not np.isfinite(queries).all():
            raise EngineError("A query vector is not finite; embed the items again.")
        found = np.full((len(queries), k), -1, np.int64)
        for depth, members in depths(k, masks, self.n).items():
            if depth <= k + DEEPEST:
                found[members] = self._filtered(queries[members], k, depth, masks.of(members))
        wanted = np.minimum(masks.eligible(), k)
        short = np.flatnonzero((found >= 0).sum(1) < wanted)
        if len(short):
            found[short] = self.exact.nearest(queries[short], k, masks.of(short))
        return found

    def _filtered(self, queries: Vectors, k: int, depth: int, masks: Masks) -> Rows:
        """Search `depth` deep and keep the best k rows that may be listed."""
        depth = min(depth, self.n)
        options = {"final_num_neighbors": depth}
        if self.n >= BRUTE_FORCE_BELOW:
            options["leaves_to_search"] = self.width
            options["final_num_neighbors"] = candidates_scored(depth, k, self.n)
        rows, scores = self.search(np.ascontiguousarray(queries), **options)
        # Short lines are padded with any row and a score that is no number.
        rows = np.where(np.isnan(scores), -1, rows.astype(np.int64))
        return best_of(self.exact.vectors, queries, rows, k, masks)


def candidates_scored(depth: int, k: int, n: int) -> int:
    """Return how many rows the codes choose, to be scored exactly."""
    return min(n, max(2 * depth, 3 * k))


def depths(k: int, masks: Masks, n: int) -> dict[int, npt.NDArray[np.int64]]:
    """Group queries by how deep a search must go so that k rows are left after the masks.

    Searching deeper costs in proportion: one heavy user must not make a whole block deep. What a
    rule hides is taken to be spread evenly.
    """
    n_hidden = np.diff(masks.starts)
    share = np.maximum(masks.allowed.mean(1), 1 / max(n, 1))[masks.group]
    needed = np.ceil((k + MARGIN) / share).astype(np.int64) - k
    margin = np.where(n_hidden > 0, 2 ** np.ceil(np.log2(np.maximum(n_hidden, 1))), 0)
    steps = np.ceil(np.log2(np.maximum(needed + margin, 1)))
    depth = k + np.where(margin + needed > MARGIN, 2**steps, MARGIN).astype(np.int64)
    return {int(d): np.flatnonzero(depth == d) for d in np.unique(depth)}


def build_index(vectors: Vectors, folder: Path) -> None:
    """Write ScaNN's files for (n, d) unit rows, n > 0."""
    builder(vectors).build().serialize(str(folder), relative_path=True)


def builder(vectors: Vectors) -> Any:
    """Return ScaNN's own builder for (n, d) unit rows, all set but what `build` does at the end."""
    n, d = vectors.shape
    # One training thread: with more, two builds of the same rows differ.
    plain = scann_ops().builder(vectors, 10, "dot_product").set_n_training_threads(1)
    if n < BRUTE_FORCE_BELOW:
        return plain.score_brute_force()
    leaves = leaves_of(n)
    # On unit vectors: T = sqrt(r / (d - 1 + r)), see Guo et al. 2020, section 3.
    threshold = math.sqrt(ANISOTROPY / (d - 1 + ANISOTROPY))
    tree = plain.tree(leaves, min(leaves, 20), training_sample_size=min(n, TRAINING_ROWS))
    return tree.score_ah(2, anisotropic_quantization_threshold=threshold)


def leaves_of(n: int) -> int:
    """Return how many leaves the tree over n rows has; 1 where there is none."""
    return round(math.sqrt(n)) if n >= BRUTE_FORCE_BELOW else 1


def installed() -> bool:
    """Tell whether ScaNN can be imported."""
    return importlib.util.find_spec("scann") is not None


def scann_ops() -> Any:
    """Return ScaNN's module.

    Raises:
        MissingExtraError: it is not installed.
    """
    if not installed():
        raise MissingExtraError("scann", "topk")
    from scann import scann_ops_pybind

    return scann_ops_pybind

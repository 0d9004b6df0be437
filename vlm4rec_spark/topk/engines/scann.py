"""ScaNN behind the interface: it knows no masks, so it is asked for more and filtered.

One thread per process, as Spark is parallel over tasks. ScaNN loads its files into the heap, one
copy per process; the other engines share one memory-mapped matrix.
"""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.errors import EngineError, MissingExtraError
from vlm4rec_spark.topk.engines.exact import ExactEngine

if TYPE_CHECKING:
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

    def __init__(self, folder: str) -> None:
        """Load what `build_index` wrote.

        Raises:
            MissingExtraError: ScaNN is not installed.
        """
        self.index: Any = scann_ops().load_searcher(folder)

    def opened(self, vectors: Vectors, width: int) -> ScannEngine:
        """Return an engine over the (n, d) unit rows it was built from."""
        return ScannEngine(self.index, vectors, width)


class ScannEngine:
    """ScaNN searching `width` leaves; what masks leave too short is searched exactly."""

    def __init__(self, index: Any, vectors: Vectors, width: int) -> None:
        self.index = index
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
        """Search `depth` deep and keep the first k rows that may be listed."""
        depth = min(depth, self.n)
        options = {"final_num_neighbors": depth}
        if self.n >= BRUTE_FORCE_BELOW:
            options["leaves_to_search"] = self.width
            options["pre_reorder_num_neighbors"] = candidates_scored(depth, k, self.n)
        rows, scores = self.index.search_batched(np.ascontiguousarray(queries), **options)
        rows = rows.astype(np.int64)
        # Short lines are padded with any row and a score that is no number.
        rows = np.where(np.isnan(scores), 0, rows)
        good = ~np.isnan(scores) & masks.allowed[masks.group[:, None], rows]
        n_hidden = np.diff(masks.starts)
        if n_hidden.any():
            owner = np.repeat(np.arange(len(queries)), n_hidden)
            good &= ~np.isin(rows + np.arange(len(rows))[:, None] * self.n,
                             masks.hidden + owner * self.n)  # fmt: skip
        place = np.cumsum(good, axis=1) - 1
        found = np.full((len(queries), k), -1, np.int64)
        line, column = np.nonzero(good & (place < k))
        found[line, place[line, column]] = rows[line, column]
        return found


def candidates_scored(depth: int, k: int, n: int) -> int:
    """Return how many rows ScaNN scores exactly after its codes have chosen them."""
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
    n, d = vectors.shape
    # One training thread: with more, two builds of the same rows differ.
    builder = scann_ops().builder(vectors, 10, "dot_product").set_n_training_threads(1)
    if n < BRUTE_FORCE_BELOW:
        index = builder.score_brute_force().build()
    else:
        leaves = round(math.sqrt(n))
        # On unit vectors: T = sqrt(r / (d - 1 + r)), see Guo et al. 2020, section 3.
        threshold = math.sqrt(ANISOTROPY / (d - 1 + ANISOTROPY))
        index = (
            builder.tree(leaves, min(leaves, 20), training_sample_size=min(n, TRAINING_ROWS))
            .score_ah(2, anisotropic_quantization_threshold=threshold)
            .reorder(300)
            .build()
        )
    index.serialize(str(folder), relative_path=True)


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

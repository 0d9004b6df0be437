"""Nearest rows by inner product: exact, or through ScaNN. Queries and rows are unit float32."""

from __future__ import annotations

import importlib.util
import math
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.errors import EngineError, MissingExtraError

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

BRUTE_FORCE_BELOW = 20_000
"""Under this ScaNN's own brute force is faster than its tree."""
ANISOTROPY = 2.5
REORDER = 4
"""Candidates that are scored exactly, in multiples of the rows asked for."""
TRAINING_ROWS = 250_000
FEWEST_LEAVES = 20
LEAF_SHARE = 12
"""One leaf in so many is searched: recall@100 of about 0.999 at 100,000 and at 1,000,000 items."""
QUERIES_A_BLOCK = 256
MARGIN = 32
"""Rows kept beyond k, so that ties at the end are broken by exact scores."""


class Searcher(Protocol):
    """What both engines do."""

    def nearest(self, queries: Vectors, k: int) -> list[Rows]:
        """Return at least min(k, n) row numbers per query, best first, none twice."""


class ExactSearcher:
    """A blocked matrix product; the oracle of every other engine."""

    def __init__(self, vectors: Vectors) -> None:
        """Keep (n, d) unit rows."""
        self.vectors = vectors

    def nearest(self, queries: Vectors, k: int) -> list[Rows]:
        """See `Searcher`."""
        n = len(self.vectors)
        wanted = min(k + MARGIN, n)
        found: list[Rows] = []
        for start in range(0, len(queries), QUERIES_A_BLOCK):
            scores = queries[start : start + QUERIES_A_BLOCK] @ self.vectors.T
            if wanted < n:
                best = np.argpartition(-scores, wanted - 1, axis=1)[:, :wanted]
            else:
                best = np.broadcast_to(np.arange(n), scores.shape)
            order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
            found += list(np.take_along_axis(best, order, 1).astype(np.int64))
        return found


class ScannSearcher:
    """ScaNN over files written by `build_index`; one thread, as Spark is parallel over tasks."""

    def __init__(self, folder: Path, n: int) -> None:
        """Load the index of `n` rows."""
        self.index: Any = _scann().load_searcher(str(folder))
        self.n = n

    def nearest(self, queries: Vectors, k: int) -> list[Rows]:
        """See `Searcher`."""
        if not np.isfinite(queries).all():
            raise EngineError("A query vector is not finite; embed the items again.")
        wanted = min(k + MARGIN, self.n)
        rows, scores = self.index.search_batched(
            np.ascontiguousarray(queries),
            final_num_neighbors=wanted,
            pre_reorder_num_neighbors=min(self.n, REORDER * wanted),
        )
        # Short rows are padded with row 0 and a score that is no number.
        return [
            row[~np.isnan(score)].astype(np.int64) for row, score in zip(rows, scores, strict=True)
        ]


def chosen_engine(name: str) -> str:
    """Return 'scann' or 'exact' for a configured name; 'auto' takes ScaNN where it is installed.

    Raises:
        MissingExtraError: 'scann' is asked for and not installed.
    """
    installed = importlib.util.find_spec("scann") is not None
    if name == "scann" and not installed:
        raise MissingExtraError("scann", "topk")
    return "scann" if name in ("auto", "scann") and installed else "exact"


def build_index(vectors: Vectors, folder: Path) -> None:
    """Write ScaNN's files for (n, d) unit rows; nothing where ScaNN is missing or n is 0."""
    if chosen_engine("auto") != "scann" or not len(vectors):
        return
    n, d = vectors.shape
    # One training thread: with more, two builds of the same rows differ.
    builder = _scann().builder(vectors, 10, "dot_product").set_n_training_threads(1)
    if n < BRUTE_FORCE_BELOW:
        index = builder.score_brute_force().build()
    else:
        leaves = round(math.sqrt(n))
        # On unit vectors: T = sqrt(r / (d - 1 + r)), see Guo et al. 2020, section 3.
        threshold = math.sqrt(ANISOTROPY / (d - 1 + ANISOTROPY))
        index = (
            builder.tree(
                leaves,
                max(FEWEST_LEAVES, leaves // LEAF_SHARE),
                training_sample_size=min(n, TRAINING_ROWS),
            )
            .score_ah(2, anisotropic_quantization_threshold=threshold)
            .reorder(REORDER * 100)
            .build()
        )
    index.serialize(str(folder), relative_path=True)


@lru_cache(maxsize=2)
def load_searcher(engine: str, folder: Path, n: int) -> ScannSearcher | None:
    """Return ScaNN's searcher once per process, or None for the exact engine."""
    return ScannSearcher(folder, n) if engine == "scann" and n else None


def _scann() -> Any:
    from scann import scann_ops_pybind

    return scann_ops_pybind

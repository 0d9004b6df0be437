"""Moving vectors into the space that the options of profiles ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vlm4rec_spark.topk.centring import mean_vector, whitening, without_mean
from vlm4rec_spark.topk.facets import facet_matrix
from vlm4rec_spark.topk.words import coded

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm4rec_spark.topk.centring import Space, Vectors


@dataclass(frozen=True)
class Moved:
    """Vectors in a space, and how they got there, None for a step that was not taken."""

    vectors: Vectors
    """(n, d) float32."""
    centre: Vectors | None = None
    """(d,) subtracted first."""
    whitening: Vectors | None = None
    """(d, d)."""
    facets: Vectors | None = None
    """(d, d)."""


def moved(vectors: Vectors, space: Space, words: Callable[[], pa.MapArray]) -> Moved:
    """Return vectors in a space.

    Args:
        vectors: (n, d) float32 unit rows; a row of NaN stays one.
        space: how they are moved.
        words: reads the described attributes of the same items; asked for facets alone.
    """
    centre = matrix = facets = None
    if space.kind != "plain":
        centre = mean_vector(vectors)
        matrix = whitening(vectors, centre) if space.kind == "whitened" else None
        vectors = without_mean(vectors, centre, matrix)
    if space.facets:
        known = np.isfinite(vectors[:, 0])
        told = coded(words().filter(pa.array(known)))
        facets = facet_matrix(vectors[known], told, dict(space.facets))
        vectors = without_mean(vectors, np.zeros(vectors.shape[1], np.float32), facets)
    return Moved(vectors, centre, matrix, facets)

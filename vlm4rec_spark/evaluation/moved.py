"""Spaces made from others for the options of profiles: centred, whitened, with knobs on facets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from vlm4rec_spark.evaluation.catalogue import save_array
from vlm4rec_spark.topk.centring import PLAIN, mean_vector, whitening, without_mean
from vlm4rec_spark.topk.facets import facet_matrix
from vlm4rec_spark.topk.words import coded

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm4rec_spark.evaluation.catalogue import Catalogue, Vectors
    from vlm4rec_spark.topk.centring import Space


@dataclass
class MovedSpaces:
    """Writes each space beside the one it is made from, once."""

    catalogue: Catalogue
    words: Callable[[], pa.MapArray]
    """Reads the described attributes of each item of the catalogue; asked for facets alone."""
    made: set[str] = field(default_factory=set)
    """Spaces written so far."""

    def name(self, origin: str, space: Space) -> str:
        """Return the name of a space of the catalogue, moved; it is there then."""
        if space == PLAIN:
            return origin
        knobs = (f"{quote(facet, safe='')}{factor}" for facet, factor in space.facets)
        name = "-".join((origin, space.kind, *knobs))
        if name not in self.made:
            vectors = moved(self.catalogue.space(origin), space, self.words)
            save_array(self.catalogue.folder, f"space-{name}", vectors)
            self.made.add(name)
        return name


def moved(vectors: Vectors, space: Space, words: Callable[[], pa.MapArray]) -> Vectors:
    """Return vectors in a space, as the recommend job moves those of the item matrix.

    Args:
        vectors: (n, d) float32 unit rows; a row of NaN stays one.
        space: how they are moved.
        words: reads the attributes of the same items.
    """
    if space.kind != "plain":
        mean = mean_vector(vectors)
        matrix = whitening(vectors, mean) if space.kind == "whitened" else None
        vectors = without_mean(vectors, mean, matrix)
    if space.facets:
        known = np.isfinite(vectors[:, 0])
        told = coded(words().filter(pa.array(known)))
        matrix = facet_matrix(vectors[known], told, dict(space.facets))
        vectors = without_mean(vectors, np.zeros(vectors.shape[1], np.float32), matrix)
    return vectors

"""Knobs per facet: occasion counts twice, colour nothing.

The effects of a facet's words (see `effects`) span the directions in which it moves a vector: its
facet vectors. A knob stretches what a vector has in these directions by its factor; with 0 it is
projected out. It is one matrix for items, profiles and sentences alike:

    v -> v (I + (f - 1) P), scaled to length 1, P the projection onto the facet's directions,

one facet after the other, the smallest factor last, so that what is taken out stays out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.effects import fitted, word_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm4rec_spark.topk.engines.interface import Vectors
    from vlm4rec_spark.topk.words import Words

ENERGY = 0.95
"""Of what the effects of a facet vary in, kept; the rest is noise of rare words."""
MOST_DIRECTIONS = 32


def facet_matrix(vectors: Vectors, words: Words, factors: Mapping[str, float]) -> Vectors:
    """Return the (d, d) float32 matrix of all knobs; attributes that no item has do nothing.

    Args:
        vectors: (n, d) unit rows.
        words: of the same items.
        factors: attribute, and how much it counts; 1 leaves it.
    """
    effects, numbers = fitted(vectors, words).astype(np.float64), word_numbers(words)
    matrix = np.eye(vectors.shape[1])
    for name in sorted(factors, key=lambda facet: (-factors[facet], facet)):
        if name not in words.names:
            continue
        mine = numbers[words.names.index(name)]
        own = effects[mine[mine >= 0]]
        axes = directions(own)
        matrix = matrix @ (np.eye(len(matrix)) + (factors[name] - 1.0) * axes.T @ axes)
    return matrix.astype(np.float32)


def directions(effects: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (m, d) orthonormal rows: where the effects of a facet differ from each other."""
    if not len(effects):
        return effects
    _, lengths, axes = np.linalg.svd(effects - effects.mean(0), full_matrices=False)
    energy = np.cumsum(lengths**2)
    if energy[-1] <= 0:  # one word, or all alike: they tell nothing apart
        return effects[:0]
    kept = int(np.searchsorted(energy, ENERGY * energy[-1])) + 1
    return np.asarray(axes[: min(kept, MOST_DIRECTIONS)])

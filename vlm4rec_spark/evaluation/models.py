"""What the arms that learn from events learn: item-kNN, EASE, smoothed vectors.

All of it comes from one table of item pairs, made on Spark: how many users have both items. The
driver then needs memory for the pairs (item-kNN, smoothing) or for items x items (EASE).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.errors import EvaluationError

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Floats, Ints

EASE_MOST_ITEMS = 10_000
"""Items with a training event beyond which EASE is left out: 1.6 GB, and minutes of one core."""
MOST_PAIRS = 50_000_000
"""Pairs the driver takes: 1.6 GB."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of items that users have together, both directions and each item with itself.

    `left`, `right`: rows of the catalogue, in order; `users`: how many have both; `shared`: the
    sum over these users of 1 / (number of items they have).
    """

    left: Ints
    right: Ints
    users: Floats
    shared: Floats

    @classmethod
    def of(cls, left: Ints, right: Ints, users: Floats, shared: Floats) -> Pairs:
        """Return the pairs in order."""
        order = np.lexsort((right, left))
        return cls(left[order], right[order], users[order], shared[order])

    def own(self, n: int) -> Floats:
        """Return the number of users of each item."""
        diagonal = self.left == self.right
        counts = np.zeros(n)
        counts[self.left[diagonal]] = self.users[diagonal]
        return counts


def check_pairs(n: int) -> None:
    """Refuse more pairs than the driver takes.

    Raises:
        EvaluationError: says which arms need them.
    """
    if n > MOST_PAIRS:
        raise EvaluationError(
            f"Users have {n:,} different pairs of items, more than the {MOST_PAIRS:,} that "
            "item_knn, ease and smoothed take."
        )


def neighbours(pairs: Pairs, n: int, most: int) -> npt.NDArray[np.float64]:
    """Return (2, n, most): the rows of each item's nearest items, and their cosines.

    The cosine of two items' columns of the binary user x item matrix (Sarwar et al. 2001), as
    `implicit.nearest_neighbours.CosineRecommender`. Unused places have row 0 and cosine 0.
    """
    own = pairs.own(n)
    apart = pairs.left != pairs.right
    left, right = pairs.left[apart], pairs.right[apart]
    cosine = pairs.users[apart] / np.sqrt(own[left] * own[right])
    order = np.lexsort((right, -cosine, left))
    left, right, cosine = left[order], right[order], cosine[order]
    place = np.arange(len(left)) - np.searchsorted(left, left)
    kept = place < most
    found = np.zeros((2, n, most))
    found[0, left[kept], place[kept]] = right[kept]
    found[1, left[kept], place[kept]] = cosine[kept]
    return found


def ease(pairs: Pairs, n: int, regularisation: float) -> npt.NDArray[np.float32]:
    """Return the (n, n) item weights of EASE: closed form, zero diagonal (Steck 2019, eq. 8).

    Items without an event keep rows and columns of 0.

    Raises:
        EvaluationError: more items have events than the limit.
    """
    own = pairs.own(n)
    warm = np.flatnonzero(own)
    if len(warm) > EASE_MOST_ITEMS:
        raise EvaluationError(
            f"EASE takes {EASE_MOST_ITEMS:,} items with events, here are {len(warm):,}; leave "
            "'ease' out of evaluate.arms."
        )
    place = np.full(n, -1)
    place[warm] = np.arange(len(warm))
    gram = np.zeros((len(warm), len(warm)))
    gram[place[pairs.left], place[pairs.right]] = pairs.users
    gram[np.diag_indices(len(warm))] += regularisation
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    whole = np.zeros((n, n), np.float32)
    whole[np.ix_(warm, warm)] = weights
    return whole


def smoothed(pairs: Pairs, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the vectors after one pass over the graph of users and items, no parameter.

    Two steps of the symmetrically normalised propagation of LightGCN (He et al. 2020, eq. 7),
    item to user to item, averaged with the vector itself (as in TextGCN, arXiv 2510.12461):
    (v_i + sum_j v_j sum_u 1 / (|N_u| sqrt(|N_i| |N_j|))) / 2, to length 1. Cold items keep theirs.
    """
    own = np.maximum(pairs.own(len(vectors)), 1.0)
    weight = pairs.shared / np.sqrt(own[pairs.left] * own[pairs.right])
    usable = np.isfinite(vectors[:, 0])
    filled = np.where(usable[:, None], vectors, 0.0).astype(np.float64)
    total = filled.copy()
    bounds = np.searchsorted(pairs.left, np.arange(len(vectors) + 1))
    for row in np.flatnonzero(np.diff(bounds)):
        part = slice(bounds[row], bounds[row + 1])
        total[row] += weight[part] @ filled[pairs.right[part]]
    norms = np.linalg.norm(total, axis=1, keepdims=True)
    unit = np.divide(total, norms, out=np.full_like(total, np.nan), where=norms > 0)
    rows: npt.NDArray[np.float32] = unit.astype(np.float32)
    return rows

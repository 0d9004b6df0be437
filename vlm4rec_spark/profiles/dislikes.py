"""What a user does not want, in late fusion: each liked item is turned away from it.

A liked item v is compared as the vector q that is nearest to it and has little in common with the
unwanted items d:

    q minimises |q - v|^2 + the sum of r x <q, d>^2,

r the weight of d, as a part of the largest weight of a liked item. Of a single d that is
<q, d> = <v, d> / (1 + r): one return as heavy as a purchase halves the likeness to what was sent
back. What has nothing in common with d stays as it is. q is not scaled to length 1: a liked item
that is nearly an unwanted one counts less, and scores stay inner products with fixed vectors, so
that a search finds the best of them as exactly as without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vlm4rec_spark.profiles.vectors import Vectors


def turned_away(liked: Vectors, unwanted: Vectors, weights: npt.NDArray[np.float64]) -> Vectors:
    """Return q for each liked item, (m, d) float32, no longer than the liked vector.

    Args:
        liked: (m, d) float32 rows.
        unwanted: (n, d) float32 rows.
        weights: (n,) r of each unwanted row, not below 0.

    >>> turned_away(np.eye(1, 2, dtype=np.float32), np.eye(1, 2, dtype=np.float32), np.ones(1))
    array([[0.5, 0. ]], dtype=float32)
    """
    pull = np.sqrt(weights)[:, None] * unwanted
    # (I + P'P)^-1 v is v - P' (I + PP')^-1 P v: as many equations as there are unwanted items.
    shares = np.linalg.solve(np.eye(len(pull)) + pull @ pull.T, pull @ liked.T.astype(np.float64))
    turned: Vectors = (liked - shares.T @ pull).astype(np.float32)
    return turned

"""Synthetic vectors shaped like described catalogues: clusters inside clusters of unequal size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
DIMENSIONS = 384
GROUPS, CLUSTERS, INNER_DIMENSIONS = 50, 2000, 30
SKEW = 0.6
ROWS_A_DRAW = 100_000


def unit(rows: npt.NDArray[np.floating]) -> Vectors:
    """Scale rows to length 1."""
    scaled: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@dataclass(frozen=True)
class Shape:
    """Where clusters are and how they spread."""

    centres: Vectors
    group: npt.NDArray[np.int64]
    """Group of each cluster."""
    bases: Vectors
    """(groups, inner dimensions, d): directions in which a group's clusters spread."""
    shares: npt.NDArray[np.float64]

    @staticmethod
    def drawn(rng: np.random.Generator) -> Shape:
        """Draw clusters around the centres of groups."""
        group = rng.integers(0, GROUPS, CLUSTERS)
        around = unit(rng.standard_normal((GROUPS, DIMENSIONS)))
        centres = unit(around[group] + 0.8 * unit(rng.standard_normal((CLUSTERS, DIMENSIONS))))
        bases = np.stack(
            [
                np.linalg.qr(rng.standard_normal((DIMENSIONS, INNER_DIMENSIONS)))[0].T
                for _ in range(GROUPS)
            ]
        ).astype(np.float32)
        sizes = 1 / np.arange(1, CLUSTERS + 1) ** SKEW
        return Shape(centres, group, bases, sizes / sizes.sum())

    def rows(self, clusters: npt.NDArray[np.int64], rng: np.random.Generator) -> Vectors:
        """Draw one unit vector for each cluster number."""
        out = np.empty((len(clusters), DIMENSIONS), np.float32)
        for group in range(GROUPS):
            at = np.flatnonzero(self.group[clusters] == group)
            inner = rng.standard_normal((len(at), INNER_DIMENSIONS), np.float32)
            spread = (inner / np.float32(np.sqrt(INNER_DIMENSIONS))) @ self.bases[group]
            out[at] = self.centres[clusters[at]] + np.float32(0.7) * spread
        out += np.float32(0.2 / np.sqrt(DIMENSIONS)) * rng.standard_normal(out.shape, np.float32)
        return unit(out)


def items_and_users(n: int, users: int, seed: int = 7) -> tuple[Vectors, Vectors]:
    """Return n item vectors, and user vectors: means of 3 to 20 items out of 1 to 4 clusters."""
    rng = np.random.default_rng(seed)
    shape = Shape.drawn(rng)
    clusters = rng.choice(CLUSTERS, n, p=shape.shares)
    parts = [
        shape.rows(clusters[start : start + ROWS_A_DRAW], rng) for start in range(0, n, ROWS_A_DRAW)
    ]
    items = np.concatenate(parts)
    order = np.argsort(clusters, kind="stable")
    starts = np.searchsorted(clusters[order], np.arange(CLUSTERS + 1))
    profiles = np.empty((users, DIMENSIONS))
    for user in range(users):
        liked = rng.choice(CLUSTERS, rng.integers(1, 5), p=shape.shares)
        of = rng.choice(liked, rng.integers(3, 21))
        places = rng.integers(starts[of], np.maximum(starts[of] + 1, starts[of + 1])) % n
        profiles[user] = items[order[places]].mean(0)
    return items, unit(profiles)

"""Everything an audit finds, computed from plain arrays: spaces compared, suspects, words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlm4rec_spark.audit import suspects, words
from vlm4rec_spark.audit.neighbours import (
    Floats,
    Ints,
    Vectors,
    agreement,
    distance_correlation,
    nearest,
    overlap,
    times_listed,
)
from vlm4rec_spark.descriptions.confidence import reliability
from vlm4rec_spark.evaluation.beyond import hub_skewness

if TYPE_CHECKING:
    from vlm4rec_spark.audit.items import Items
    from vlm4rec_spark.audit.suspects import Suspect
    from vlm4rec_spark.descriptions.confidence import ReliabilityBin

SHOPPERS = "shoppers"
MOST_SUSPECTS = 100
"""Of each kind, told in the report; the count is of all."""


@dataclass(frozen=True)
class Findings:
    """What the page tells. Neighbours are (probes, k) rows of `items`, in the order of `probes`."""

    items: Items
    probes: Ints
    neighbours: dict[str, Ints]
    overlaps: dict[tuple[str, str], Floats]
    """Pair of spaces -> share of common neighbours of each probe, NaN where one has none."""
    agreements: dict[str, dict[str, tuple[float, float, float]]]
    """Attribute -> space -> share of neighbours with the same value: found, chance, best."""
    correlations: dict[str, float]
    hubs: dict[str, float]
    suspects: list[Suspect]
    spreads: list[words.Spread]
    reliability: list[ReliabilityBin]

    @property
    def by_disagreement(self) -> Ints:
        """Positions in `probes`, those first whose words share least with picture and title."""
        pairs = [o for (a, b), o in self.overlaps.items() if "caption" in (a, b)]
        shared = np.nan_to_num(np.stack(pairs), nan=1.0).mean(0) if pairs else np.zeros(0)
        order: Ints = np.lexsort((self.probes, shared)).astype(np.int64)
        return order


def find(
    items: Items,
    spaces: Mapping[str, Vectors],
    probes: Ints,
    together: Ints,
    facts: Sequence[str],
    k: int,
) -> Findings:
    """Compare the spaces at the probes, and look through all items for what is odd.

    Args:
        items: the items.
        spaces: space -> (n, d) unit rows, NaN where an item has none; 'picture' among them.
        probes: rows to look from.
        together: (probes, k) neighbours by co-interaction.
        facts: described attributes that must not contradict the catalogue.
        k: neighbours.
    """
    around = {name: nearest(vectors, probes, k) for name, vectors in spaces.items()}
    around[SHOPPERS] = together
    names = list(around)
    overlaps = {
        (a, b): overlap(around[a], around[b])
        for n, a in enumerate(names) for b in names[n + 1 :]
    }  # fmt: skip
    everyone = np.arange(len(items), dtype=np.int64)
    pictures = nearest(spaces["picture"], everyone, min(k, 5))
    odd = [
        *suspects.near_copies(spaces["picture"], pictures, everyone, items.groups),
        *suspects.misplaced(pictures, everyone, items.categories),
        *suspects.contradictions(items.said, items.words, facts),
    ]
    tags = _tags(items)
    return Findings(
        items=items,
        probes=probes,
        neighbours=around,
        overlaps=overlaps,
        agreements=_agreements(items, around, probes),
        correlations={s: distance_correlation(v, tags, 0) for s, v in spaces.items()},
        hubs={s: hub_skewness(times_listed(found, len(items))) for s, found in around.items()},
        suspects=odd,
        spreads=words.spreads(items.attributes),
        reliability=_reliability(items, facts),
    )


def _agreements(
    items: Items, around: Mapping[str, Ints], probes: Ints
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Return how often neighbours share the values of the attributes that are choices."""
    columns: dict[str, list[str | None]] = {"category": items.categories}
    for name in suspects.vocabulary(items.words):
        columns[name] = [item.get(name) for item in items.words]
    return {
        name: {space: agreement(found, probes, suspects.codes(values))
               for space, found in around.items()}
        for name, values in columns.items()
    }  # fmt: skip


def _tags(items: Items) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return which 'attribute: value' each item has, (n, t); free text is no tag."""
    known = set(suspects.vocabulary(items.words))
    tags = sorted({(n, v) for item in items.words for n, v in item.items() if n in known})
    place = {tag: n for n, tag in enumerate(tags)}
    found = np.zeros((len(items), max(len(tags), 1)), np.bool_)
    for row, item in enumerate(items.words):
        for tag in item.items():
            if tag in place:
                found[row, place[tag]] = True
    return found


def _reliability(items: Items, facts: Sequence[str]) -> list[ReliabilityBin]:
    """Return confidence against being right, where the catalogue names a value of the attribute."""
    known = suspects.vocabulary(items.words)
    sure, right = [], []
    for said, own, confidence in zip(items.said, items.words, items.confidences, strict=True):
        text = f" {' '.join(said.lower().split())} "
        for name in facts:
            if name not in own or name not in confidence or name not in known:
                continue
            named = [value for value in known[name] if f" {value} " in text]
            if named:
                sure.append(confidence[name])
                right.append(own[name].lower() in named)
    return reliability(sure, right)

"""Rules a merchandiser tries on a list: what would leave, and what would come instead.

A rule is chosen from what the catalogue says, never typed as SQL: 'out:colour=red' leaves out red
items, 'only:colour=red' keeps nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vlm4rec_spark.preview.shop import Listed, Shop
    from vlm4rec_spark.topk.snapshot import Snapshot


@dataclass(frozen=True)
class Rule:
    """One rule over a described attribute."""

    mode: Literal["out", "only"]
    name: str
    value: str

    def allows(self, words: dict[str, str]) -> bool:
        """Tell whether an item with these visible attributes may stay."""
        return (words.get(self.name) == self.value) == (self.mode == "only")

    def told(self) -> str:
        """Return the rule in words."""
        return f"{'only' if self.mode == 'only' else 'without'} {self.name} = {self.value}"

    def text(self) -> str:
        """Return the rule as it stands in an address."""
        return f"{self.mode}:{self.name}={self.value}"


@dataclass(frozen=True)
class Trial:
    """A list with rules: `stays` and `comes` make the new one, `leaves` is what the rules take."""

    stays: list[Listed]
    leaves: list[Listed]
    comes: list[Listed]


def parsed(texts: Sequence[str]) -> list[Rule]:
    """Return the rules of an address; what is no rule is left out."""
    found = []
    for text in texts:
        mode, _, rest = text.partition(":")
        name, equals, value = rest.partition("=")
        if mode in ("out", "only") and name and equals:
            found.append(Rule("out" if mode == "out" else "only", name, value))
    return found


def tried(
    shop: Shop,
    listed: list[Listed],
    interests: npt.NDArray[np.float32],
    seen: Sequence[str],
    rules: Sequence[Rule],
) -> Trial:
    """Return what the rules do to a list in force.

    What comes is what is nearest to one of the shopper's interests, (n, d), among the available
    items that the rules allow and the shopper has neither seen nor on the list.
    """
    matrix = shop.matrix()
    place = {str(item): row for row, item in enumerate(matrix.names)}

    def allowed(item_id: str) -> bool:
        row = place.get(item_id)
        words = matrix.words.of(int(row)) if row is not None else {}
        return all(rule.allows(words) for rule in rules)

    stays = [entry for entry in listed if allowed(entry.item.item_id)]
    leaves = [entry for entry in listed if not allowed(entry.item.item_id)]
    taken = {*seen, *(entry.item.item_id for entry in listed)}
    comes = _next_best(shop, matrix, interests, taken, rules, len(leaves))
    return Trial(stays, leaves, comes)


def _next_best(
    shop: Shop,
    matrix: Snapshot,
    interests: npt.NDArray[np.float32],
    taken: set[str],
    rules: Sequence[Rule],
    n: int,
) -> list[Listed]:
    if not n or not len(interests):
        return []
    scores = (matrix.vectors[matrix.available] @ interests.T).max(axis=1)
    order = matrix.available[np.lexsort((matrix.available, -scores))]
    chosen: list[str] = []
    for row in order:
        item = str(matrix.names[row])
        if item not in taken and all(rule.allows(matrix.words.of(int(row))) for rule in rules):
            chosen.append(item)
        if len(chosen) == n:
            break
    vectors = matrix.vectors[[int(np.flatnonzero(matrix.names == item)[0]) for item in chosen]]
    best = (vectors @ interests.T).max(axis=1) if chosen else np.empty(0)
    return shop.ranked(chosen, best)

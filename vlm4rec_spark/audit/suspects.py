"""Items a person should look at: copies, wrong pictures, words that contradict the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlm4rec_spark.audit.neighbours import NONE, Ints, Vectors

NEAR_COPY = 0.985
"""Cosine of two pictures from which on they are looked at as one."""
PLAIN = re.compile(r"[\w-]+( [\w-]+)?")
STRANGERS = 0.2
"""Share of a picture's neighbours in the item's own category under which it looks misplaced."""


@dataclass(frozen=True)
class Suspect:
    """One item, or two, and what is odd about it."""

    kind: str
    row: int
    other: int | None
    why: str


def near_copies(
    vectors: Vectors, neighbours: Ints, rows: Ints, groups: Sequence[str | None]
) -> Iterator[Suspect]:
    """Yield pairs whose pictures are nearly one, unless the catalogue calls them variants."""
    told = set()
    for row, around in zip(rows, neighbours, strict=True):
        for other in around[around != NONE]:
            alike = float(vectors[row] @ vectors[other])
            pair = (int(min(row, other)), int(max(row, other)))
            is_variant = groups[row] is not None and groups[row] == groups[other]
            if alike >= NEAR_COPY and not is_variant and pair not in told:
                told.add(pair)
                yield Suspect("near-copy", *pair, f"pictures alike: cosine {alike:.3f}")


def misplaced(neighbours: Ints, rows: Ints, categories: Sequence[str | None]) -> Iterator[Suspect]:
    """Yield items whose picture lies among another category's: a wrong photo, or category."""
    for row, around in zip(rows, neighbours, strict=True):
        own = categories[row]
        others = [categories[other] for other in around[around != NONE]]
        if own is None or not others:
            continue
        share = others.count(own) / len(others)
        if share <= STRANGERS:
            usual = max(sorted({o for o in others if o}), key=others.count, default="none")
            yield Suspect(
                "picture or category", int(row), None,
                f"filed under {own}, but {1 - share:.0%} of the nearest pictures are not "
                f"(mostly {usual})",
            )  # fmt: skip


def vocabulary(words: Sequence[Mapping[str, str]], fewest: int = 2) -> dict[str, dict[str, str]]:
    """Return attribute -> its values that contradict each other; lower case -> as described.

    Only values of one or two plain words that several items have: free text contradicts nothing.
    """
    counts: dict[str, dict[str, int]] = {}
    for item in words:
        for name, value in item.items():
            own = counts.setdefault(name, {})
            own[value] = own.get(value, 0) + 1
    found = {}
    for name, values in counts.items():
        kept = [v for v, n in values.items() if n >= fewest and PLAIN.fullmatch(v)]
        if len(kept) > 1 and len(kept) >= 0.5 * len(values):
            found[name] = {value.lower(): value for value in sorted(kept)}
    return found


def contradictions(
    said: Sequence[str],
    words: Sequence[Mapping[str, str]],
    attributes: Sequence[str],
) -> Iterator[Suspect]:
    """Yield items whose catalogue text names another value than the description does.

    Args:
        said: title and catalogue attributes of each item, as one text.
        words: described attributes, visible ones only, name -> value.
        attributes: the attributes to compare; those about what a thing is, such as colour.
    """
    known = {name: v for name, v in vocabulary(words).items() if name in attributes}
    patterns = {
        name: re.compile(
            r"\b(" + "|".join(sorted(map(re.escape, values), key=len, reverse=True)) + r")\b"
        )
        for name, values in known.items()
    }
    for row, (text, own) in enumerate(zip(said, words, strict=True)):
        for name, pattern in patterns.items():
            if name not in own:
                continue
            named = set(pattern.findall(text.lower()))
            if named and own[name].lower() not in named:
                yield Suspect(
                    "contradiction", row, None,
                    f"{name}: the catalogue says {', '.join(sorted(named))}, the description "
                    f"{own[name]}",
                )  # fmt: skip


def codes(values: Sequence[str | None]) -> Ints:
    """Return a number for each value, -1 for none; equal values have equal numbers."""
    known = {value: n for n, value in enumerate(sorted({v for v in values if v}))}
    return np.array([known[v] if v else -1 for v in values], np.int64)

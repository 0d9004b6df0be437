"""The quality of the descriptions themselves: spread, gaps, length, repetition, wording."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PHRASE_WORDS = 4
GENDERED = {
    "women": ("women", "woman", "womens", "ladies", "lady", "girl", "girls", "feminine", "she",
              "her"),
    "men": ("men", "man", "mens", "gentleman", "gentlemen", "boy", "boys", "masculine", "he",
            "his"),
}  # fmt: skip
LOADED = ("exotic", "ethnic", "tribal", "oriental", "nude", "flattering", "slimming", "plus-size",
          "petite", "sexy", "cheap", "classy")  # fmt: skip
"""Words that judge bodies or origins; a shop decides whether it wants them."""


@dataclass(frozen=True)
class Spread:
    """How one attribute is filled."""

    name: str
    asked: int
    not_visible: float
    """Share of the asked items, 0 to 1."""
    values: int
    entropy: float
    """In bits; 0: always the same word."""
    commonest: str
    commonest_share: float


def spreads(attributes: Sequence[Mapping[str, str | None]]) -> list[Spread]:
    """Return the spread of every attribute; a value of None is 'not visible'."""
    found = []
    for name in sorted({name for item in attributes for name in item}):
        asked = [item[name] for item in attributes if name in item]
        counts = Counter(value for value in asked if value is not None)
        total = sum(counts.values())
        entropy = -sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0
        word, n = min(counts.items(), key=lambda c: (-c[1], c[0])) if counts else ("", 0)
        found.append(
            Spread(
                name=name,
                asked=len(asked),
                not_visible=1 - total / len(asked),
                values=len(counts),
                entropy=abs(entropy),
                commonest=word,
                commonest_share=n / total if total else 0.0,
            )
        )
    return found


def lengths(texts: Sequence[str]) -> tuple[int, int, int]:
    """Return the 5th, 50th and 95th percentile of the words per text; zeros without a text."""
    counts = sorted(len(text.split()) for text in texts)
    if not counts:
        return 0, 0, 0
    last = len(counts) - 1
    return counts[round(0.05 * last)], counts[round(0.5 * last)], counts[round(0.95 * last)]


def repeated_phrases(texts: Sequence[str], most: int = 10) -> list[tuple[str, float]]:
    """Return the phrases of four words found in most texts, with the share of texts that hold one.

    A model that says the same of everything tells items apart by nothing.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        words = re.findall(r"[\w'-]+", text.lower())
        counts.update({" ".join(words[n : n + PHRASE_WORDS]) for n in range(len(words) - 3)})
    common = sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:most]
    return [(phrase, n / len(texts)) for phrase, n in common if n > 1]


@dataclass(frozen=True)
class Wording:
    """How often words of one kind are used in one category: by the model, by the catalogue."""

    kind: str
    category: str
    described: float
    catalogue: float
    items: int


def wordings(
    texts: Sequence[str], said: Sequence[str], categories: Sequence[str | None]
) -> list[Wording]:
    """Return gendered and loaded wording by category, described against catalogue, where used.

    Args:
        texts: descriptions.
        said: what the catalogue says of the same items.
        categories: their categories.
    """
    kinds = {**GENDERED, "loaded": LOADED}
    found = []
    for category in sorted({c or "" for c in categories}):
        rows = [n for n, c in enumerate(categories) if (c or "") == category]
        for kind, words in kinds.items():
            pattern = re.compile(r"\b(" + "|".join(words) + r")(?:'s|s')?\b", re.IGNORECASE)
            ours, theirs = (
                sum(bool(pattern.search(source[n])) for n in rows) / len(rows)
                for source in (texts, said)
            )
            if ours or theirs:
                found.append(Wording(kind, category or "(none)", ours, theirs, len(rows)))
    return found

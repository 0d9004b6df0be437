"""Reasons a person can read, from the words two items share."""

from __future__ import annotations

from collections.abc import Mapping

SHOWN = 4
"""Words named in one sentence."""
SPOKEN_FIRST = ("style", "occasion", "room", "material", "pattern", "colour")
"""What shoppers care for; further attributes follow by name."""
SAYS_NOTHING = ("none", "other", "unknown")
TITLE_CHARACTERS = 80


def shared_words(left: Mapping[str, str], right: Mapping[str, str]) -> list[str]:
    """Return the values of the attributes on which two items agree, the most telling first.

    >>> shared_words({"style": "classic", "colour": "red"}, {"style": "classic", "colour": "navy"})
    ['classic']
    """
    names = [name for name in SPOKEN_FIRST if name in left]
    names += sorted(name for name in left if name not in SPOKEN_FIRST)
    agreed = (left[name] for name in names if left[name] == right.get(name))
    return list(dict.fromkeys(word for word in agreed if word not in SAYS_NOTHING))


def profile_reason(title: str, shared: list[str]) -> str:
    """Return why an item is in a list, given the item of the history that weighs most."""
    name = _named(title)
    if not shared:
        return f"It comes closest to {name}, which you chose."
    return f"Like {name}, which you chose: {', '.join(shared[:SHOWN])}."


def similar_reason(shared: list[str]) -> str:
    """Return why two items are neighbours."""
    return f"Both: {', '.join(shared[:SHOWN])}." if shared else "The descriptions are alike."


def popular_reason() -> str:
    """Return why someone without a usable history sees an item."""
    return "Popular with other shoppers; there is no history of yours to go by yet."


def _named(title: str) -> str:
    words = " ".join(title.split())
    if not words:
        return "an item"
    return f"'{words}'" if len(words) <= TITLE_CHARACTERS else f"'{words[: TITLE_CHARACTERS - 1]}…'"

"""The texts of an item that get a vector."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

VARIANTS = ("caption", "title", "title_caption", "attributes")


def text_of(
    variant: str,
    title: str | None,
    description: str | None,
    attributes: Mapping[str, str | None] | None,
) -> str | None:
    """Return the text of one variant, white space collapsed; None where nothing is left.

    Args:
        variant: one of `VARIANTS`.
        title: title of the item.
        description: what the model wrote about its pictures.
        attributes: name to value of the described attributes; null is 'not visible'.

    Raises:
        ValueError: the variant is not known.

    >>> text_of("title_caption", "Aria 12", "A red dress.", {})
    'Aria 12. A red dress.'
    >>> text_of("attributes", None, None, {"style": "classic", "dress_length": None})
    'style: classic'
    """
    if variant == "caption":
        return _clean(description)
    if variant == "title":
        return _clean(title)
    if variant == "title_caption":
        # An item that has one of the two is still found: a new item before its picture is read.
        return _sentences(_clean(title), _clean(description))
    if variant == "attributes":
        return _listed(attributes or {})
    raise ValueError(f"unknown text variant '{variant}', expected one of {', '.join(VARIANTS)}")


def text_sha256(text: str) -> str:
    """Return the hash that embeddings are cached by."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _clean(text: str | None) -> str | None:
    return " ".join((text or "").split()) or None


def _sentences(*parts: str | None) -> str | None:
    ended = [part if part[-1] in ".!?" else f"{part}." for part in parts if part]
    return " ".join(ended) or None


def _listed(attributes: Mapping[str, str | None]) -> str | None:
    """Return 'name: value; ...' by name, so that the order of a map does not change the text."""
    named = ((name.replace("_", " "), _clean(attributes[name])) for name in sorted(attributes))
    return "; ".join(f"{name}: {value}" for name, value in named if value) or None

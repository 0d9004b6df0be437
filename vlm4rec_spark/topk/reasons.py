"""Reasons a person can read, from the words two items share."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

SHOWN = 4
"""Words named in one sentence."""
TITLE_CHARACTERS = 80
POPULAR_REASON = "Popular with other shoppers; there is no history of yours to go by yet."
"""Why someone without a usable history sees an item."""


def profile_reasons(titles: pa.Array, shared: pa.ListArray) -> pa.Array:
    """Return why items are in a list, given the item of the history that weighs most.

    Args:
        titles: of the items of the history; may be empty.
        shared: words to name, at most `SHOWN` each.
    """
    names = _named(titles)
    words = pc.binary_join(shared, ", ")
    with_words = pc.binary_join_element_wise("Like ", names, ", which you chose: ", words, ".", "")
    without = pc.binary_join_element_wise("It comes closest to ", names, ", which you chose.", "")
    return pc.if_else(pc.equal(words, ""), without, with_words)


def wish_reasons(words: pa.ListArray) -> pa.Array:
    """Return why items are in the list of a user who said what they look for."""
    told = pc.binary_join(words, ", ")
    with_words = pc.binary_join_element_wise("Fits what you asked for: ", told, ".", "")
    return pc.if_else(pc.equal(told, ""), "It comes closest to what you asked for.", with_words)


def similar_reasons(shared: pa.ListArray) -> pa.Array:
    """Return why two items are neighbours."""
    words = pc.binary_join(shared, ", ")
    both = pc.binary_join_element_wise("Both: ", words, ".", "")
    return pc.if_else(pc.equal(words, ""), "The descriptions are alike.", both)


def complement_reasons(slots: pa.Array, shared: pa.ListArray) -> pa.Array:
    """Return what an item adds to another, and what both have in common."""
    words = pc.binary_join(shared, ", ")
    return pc.binary_join_element_wise("Adds ", slots, "; both: ", words, ".", "")


def _named(titles: pa.Array) -> pa.Array:
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(titles, r"\s+", " "))
    short = pc.utf8_slice_codeunits(words, 0, TITLE_CHARACTERS - 1)
    cut = pc.binary_join_element_wise(short, "…", "")
    is_long = pc.greater(pc.utf8_length(words), TITLE_CHARACTERS)
    quoted = pc.binary_join_element_wise("'", pc.if_else(is_long, cut, words), "'", "")
    return pc.if_else(pc.equal(words, ""), "an item", quoted)

"""Item texts: clean-up of titles and other short texts of a catalogue."""

from __future__ import annotations

import re
import unicodedata

MAX_TITLE = 500
"""Longest title kept, in characters; a longer one is cut at a word where there is one."""

JOINERS = ("\u200c", "\u200d")
"""Format characters that change how words are written (Persian, Hindi, emoji): kept."""

_TAG = re.compile(
    r"</?(?:a|b|br|div|em|font|h[1-6]|i|li|ol|p|span|strong|sub|sup|u|ul)(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)


def clean_title(text: str | None, max_chars: int = MAX_TITLE) -> str | None:
    r"""Return a title fit for a prompt and for people, or None where nothing is left.

    Control characters, line breaks, HTML tags and runs of white space become one space; invisible
    characters (text direction, zero width) go; the text is in Unicode form NFC and at most
    `max_chars` long. Cleaning twice changes nothing.

    >>> clean_title("  Linen\tdress <br/>\x00 midi ")
    'Linen dress midi'
    """
    if text is None:
        return None
    visible = "".join(_visible(c) for c in unicodedata.normalize("NFC", text))
    # Dropping a character can bring a letter and its accent together, hence the second NFC.
    words = " ".join(_TAG.sub(" ", unicodedata.normalize("NFC", visible)).split())
    if len(words) > max_chars:
        cut = words[:max_chars]
        words = (cut.rsplit(" ", 1)[0] if " " in cut[max_chars // 2 :] else cut).rstrip()
    return words or None


def clean_group(text: str | None) -> str | None:
    """Return the variant group as the catalogue gives it; blank means none."""
    return text if text is not None and text.strip() else None


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc" or character.isspace():
        return " "
    if category in ("Cf", "Cs", "Cn") and character not in JOINERS:
        return ""
    return character

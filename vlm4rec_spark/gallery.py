"""Items side by side as HTML: picture, title, words; every text is escaped, nothing is fetched."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

LONGEST = 80
STYLE = (
    "<style>.gallery{display:flex;flex-wrap:wrap;gap:1rem;list-style:none;padding:0}"
    ".gallery li{width:11rem;overflow-wrap:anywhere;font-size:.85rem}"
    ".gallery img,.gallery .none{width:11rem;height:11rem;object-fit:contain;border-radius:6px;"
    "background:var(--card);display:grid;place-items:center;color:var(--soft)}"
    ".gallery p{margin:.2rem 0}.gallery .mark{color:var(--base);font-weight:600}</style>"
)


@dataclass(frozen=True)
class Card:
    """One item as it is shown."""

    item_id: str
    title: str | None
    lines: Sequence[str] = ()
    """Said below the title, a paragraph each; empty ones are left out."""
    mark: str = ""
    """One word that sets the item apart, for example 'new'."""


def gallery(title: str, cards: Sequence[Card], pictures: Mapping[str, bytes]) -> str:
    """Return a section with a card per item.

    Args:
        title: heading of the section.
        cards: the items in order.
        pictures: item id -> small JPEG.
    """
    shown = "".join(f"<li>{_card(card, pictures.get(card.item_id))}</li>" for card in cards)
    listed = f'<ul class="gallery">{shown}</ul>' if cards else '<p class="note">none</p>'
    return f"<section>{STYLE}<h2>{escape(title)}</h2>{listed}</section>"


def _card(card: Card, picture: bytes | None) -> str:
    title = card.title or card.item_id
    short = title if len(title) <= LONGEST else title[: LONGEST - 1] + "…"
    image = '<span class="none">no picture</span>'
    if picture is not None:
        data = base64.b64encode(picture).decode("ascii")
        image = f'<img alt="{escape(short)}" src="data:image/jpeg;base64,{data}">'
    mark = f'<p class="mark">{escape(card.mark)}</p>' if card.mark else ""
    said = "".join(f"<p>{escape(line)}</p>" for line in card.lines if line)
    return f"{image}{mark}<p><strong>{escape(short)}</strong></p>{said}"

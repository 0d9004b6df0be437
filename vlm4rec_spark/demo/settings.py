"""The parameters of the synthetic shop and its shoppers, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone


@dataclass(frozen=True)
class ShopConfig:
    """The size of the world and what is odd about it. Shares are of all items, 0 to 1.

    The last block is about the shoppers; `demo.shoppers` explains how they behave.
    """

    items: int = 600
    """Catalogue rows."""
    users: int = 2000
    """Shoppers."""
    days: int = 180
    """Length of the period, in which items appear and shoppers act."""
    seed: int = 0
    """The same seed gives the same world, byte for byte (with the same library versions)."""
    start: datetime = datetime(2025, 5, 1, tzinfo=timezone.utc)
    """First day of the period; with the default the period runs from summer into autumn."""

    existing_share: float = 0.4
    """There from the first day; the others appear evenly over the period."""
    variant_share: float = 0.3
    """Another colour of an earlier item, in one variant group with it."""
    duplicate_share: float = 0.02
    """An earlier item listed again under another id, with a byte-equal picture."""
    broken_share: float = 0.01
    """With a picture that is truncated, missing, a web page or empty."""
    hostile_share: float = 0.01
    """With a title that tries to break prompts, queries, pages or logs."""
    close_up_share: float = 0.03
    """Photographed so close that type and cut cannot be seen."""
    dark_share: float = 0.03
    """Photographed so dark that colour and material cannot be seen."""
    second_photo_share: float = 0.25
    """With a second photo: a close-up, or a clear one where the first leaves something out."""
    sold_out_share: float = 0.05
    """Out of stock at the end of the period."""
    max_side: int = 1200
    """Longest side of the largest pictures in pixels; the shortest side is at least 180."""

    interests: int = 80
    """Different interests that exist; each is a taste of its own, shared by many shoppers."""
    interests_per_user: int = 3
    """A shopper has one to this many."""
    sessions: float = 8.0
    """Mean sessions per shopper and period; a few shoppers have many more."""
    views: float = 6.0
    """Mean items looked at in a session."""
    noise: float = 0.1
    """Share of views that have nothing to do with taste."""
    personal: float = 0.5
    """Spread of a shopper's own liking of colours and price bands, on top of the interests."""
    popularity: float = 0.6
    """Spread (of the logarithm) of how popular styles are for no visible reason."""
    season: float = 0.5
    """How much more (logarithm) warm things sell in winter than in summer, divided by two."""
    novelty: float = 0.7
    """How much more (logarithm) an item is seen on its first day; fades within weeks."""
    late_share: float = 0.3
    """Share of shoppers whose first visit lies later in the period."""

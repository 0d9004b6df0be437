"""What shoppers like: interests as likings of true attributes, and the items seen that way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.demo.products import COLOURS, MATERIALS, OCCASIONS, ROOMS, STYLES, TYPES
from vlm4rec_spark.demo.shop import BANDS, Item, Shop

if TYPE_CHECKING:
    from vlm4rec_spark.demo.settings import ShopConfig

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCKS: dict[str, tuple[str, ...]] = {
    "style": STYLES,
    "occasion": OCCASIONS + ROOMS,
    "material": MATERIALS,
    "colour": tuple(COLOURS),
    "type": TYPES,
    "band": BANDS,
}
"""What tastes are about, and the values of each; home items have their room as the occasion."""
TASTE = {"style": 1.1, "occasion": 0.8, "material": 0.9, "colour": 0.6, "type": 0.5, "band": 0.3}
"""Spread of an interest's likings: the logarithm of how much more often an item comes up."""
PERSONAL = ("colour", "band")
"""What a shopper likes for reasons of their own, on top of the interests."""
WARM = frozenset({"coat", "boot", "knitwear", "scarf", "wool", "knit", "turtleneck", "beanie"})
COOL = frozenset({"linen", "silk", "sleeveless", "short sleeves", "wide-brim", "skirt"})


@dataclass(frozen=True)
class Shelf:
    """The items as shoppers see them; every array has one entry per item, in the shop's order.

    `codes`: block -> index into `BLOCKS[block]`; `popularity`: a logarithm; `warmth`: -1 to 1;
    `first_day`: day of the period; `style_no`: items with the same one compete.
    """

    codes: dict[str, Ints]
    popularity: Floats
    warmth: Floats
    first_day: Ints
    style_no: Ints


@dataclass(frozen=True)
class Tastes:
    """`likings`: block -> (interests, values); `personal`: block -> (users, values)."""

    likings: dict[str, Floats]
    personal: dict[str, Floats]


def make_shelf(shop: Shop) -> Shelf:
    """Look at the items; popularity belongs to a style and is shared out among its variants."""
    rng = np.random.default_rng([shop.config.seed, 4])
    styles = np.array([i.style_no for i in shop.items], np.int64)
    by_style = rng.normal(0, shop.config.popularity, int(styles.max()) + 1)
    return Shelf(
        codes={**item_codes(shop.items), "band": shop.bands},
        popularity=by_style[styles] - np.log(np.bincount(styles)[styles]),
        warmth=np.array([_warmth(i) for i in shop.items]),
        first_day=np.array([i.first_day for i in shop.items], np.int64),
        style_no=styles,
    )


def item_codes(items: tuple[Item, ...]) -> dict[str, Ints]:
    """Return block -> index into `BLOCKS[block]` per item, for all blocks but the price band."""
    rows = []
    for item in items:
        product = item.product
        use = product.room if product.kind.is_home else product.occasion
        rows.append((product.style, use, product.material, product.colour, product.type))
    blocks = [name for name in BLOCKS if name != "band"]
    places = {name: {value: n for n, value in enumerate(BLOCKS[name])} for name in blocks}
    return {
        name: np.array([places[name][row[n]] for row in rows], np.int64)
        for n, name in enumerate(blocks)
    }


def make_likings(config: ShopConfig) -> dict[str, Floats]:
    """Return block -> likings of the interests, (interests, values)."""
    rng = np.random.default_rng([config.seed, 2])
    return {
        block: rng.normal(0, spread, (config.interests, len(BLOCKS[block])))
        for block, spread in TASTE.items()
    }


def make_personal(n_users: int, config: ShopConfig, rng: np.random.Generator) -> dict[str, Floats]:
    """Return block -> own likings of `n_users` shoppers, (users, values)."""
    return {
        block: rng.normal(0, config.personal, (n_users, len(BLOCKS[block]))) for block in PERSONAL
    }


def appeal(shelf: Shelf, likings: dict[str, Floats], interest: int) -> Floats:
    """Return how much one interest likes each item, a logarithm, (items,)."""
    return np.sum([likings[b][interest][shelf.codes[b]] for b in BLOCKS], axis=0)


def liking(shelf: Shelf, tastes: Tastes, who: Ints, interest: Ints, item: Ints) -> Floats:
    """Return how much each shopper likes the item in front of them, all arrays (n,).

    `who` indexes the rows of `tastes.personal`. About 0 for an average item of an average taste.
    """
    total = np.zeros(len(item))
    for block, likings in tastes.likings.items():
        total += likings[interest, shelf.codes[block][item]]
    for block, own in tastes.personal.items():
        total += own[who, shelf.codes[block][item]]
    return total


def _warmth(item: Item) -> float:
    product = item.product
    if product.kind.is_home:
        return 0.0
    seen = {product.type, product.material, product.cut, product.finish}
    return float(np.clip(0.5 * (len(seen & WARM) - len(seen & COOL)), -1, 1))

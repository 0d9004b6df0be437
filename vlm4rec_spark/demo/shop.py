"""The catalogue of the synthetic shop: rows as a real shop has them, with their known truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.demo.products import (
    COLOURS,
    NONE,
    Product,
    canonical,
    contrast,
    sample_product,
)
from vlm4rec_spark.demo.settings import ShopConfig
from vlm4rec_spark.demo.titles import hostile_title, title
from vlm4rec_spark.demo.truth import VIEWS

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Item", "Shop", "ShopConfig", "make_shop", "recolour"]

BROKEN_KINDS = ("truncated", "missing", "html", "empty")
"""What can be wrong with a picture file; broken items take them in turn."""

BRANDS: dict[str, float] = {
    "Alder & Finch": 1.25,
    "Basta": 0.7,
    "Calma": 1.0,
    "Dune Works": 0.9,
    "Ekko": 0.8,
    "Fabel": 1.1,
    "Grove": 0.95,
    "Halden": 1.4,
    "Ines Marlow": 1.6,
    "Juno": 0.85,
    "Kestrel": 1.15,
    "Lumen & Co": 1.05,
}
"""Brand -> price level. A brand says nothing about style: only pictures do."""

BASE_PRICES: dict[str, float] = {
    "dress": 79,
    "shirt": 45,
    "trousers": 65,
    "skirt": 49,
    "coat": 149,
    "knitwear": 69,
    "handbag": 95,
    "sneaker": 85,
    "boot": 119,
    "hat": 29,
    "scarf": 35,
    "armchair": 349,
    "lamp": 89,
    "vase": 39,
    "rug": 129,
    "cushion": 25,
}
DEAR_MATERIALS = {"leather": 1.5, "silk": 1.35, "wool": 1.2, "ceramic": 1.1}
NO_BRAND_SHARE = 0.04
BANDS = ("low", "middle", "high")


@dataclass(frozen=True)
class Item:
    """One catalogue row with its truth.

    `picture_seed` decides the whole photo, so two items with the same one are byte-equal.
    `broken` is one of `BROKEN_KINDS`; `variant_group` is None for an item without variants.
    """

    item_id: str
    product: Product
    title: str
    brand: str | None
    price: float
    stock: int
    first_day: int
    style_no: int
    variant_group: str | None
    view: str
    picture_seed: int
    broken: str | None
    duplicate_of: str | None

    def first_seen(self, config: ShopConfig) -> datetime:
        """Return when the shop first showed the item (UTC)."""
        return config.start + timedelta(days=self.first_day)


@dataclass(frozen=True)
class Shop:
    """The items in the order in which they appeared."""

    config: ShopConfig
    items: tuple[Item, ...]

    @cached_property
    def bands(self) -> npt.NDArray[np.int64]:
        """Price band of each item (indices into `BANDS`): thirds within its type."""
        types = np.array([i.product.type for i in self.items])
        prices = np.array([i.price for i in self.items])
        bands = np.zeros(len(self.items), np.int64)
        for name in np.unique(types):
            rows = np.flatnonzero(types == name)
            rank = np.argsort(np.argsort(prices[rows], kind="stable"))
            bands[rows] = rank * len(BANDS) // len(rows)
        return bands


@dataclass(frozen=True)
class _Draft:
    """An item before it has an id: what it is, of which style, from when on, a copy of what."""

    product: Product
    style_no: int
    first_day: int
    picture_seed: int
    view: str
    original: int | None = None


@dataclass(frozen=True)
class _Plan:
    """All drafts, the ids they will have, and which of them are odd in which way."""

    drafts: list[_Draft]
    ids: list[str]
    grouped: frozenset[int]
    broken: dict[int, str]
    hostile: frozenset[int]


def make_shop(config: ShopConfig) -> Shop:
    """Make the catalogue; the same one every time for the same configuration."""
    rng = np.random.default_rng([config.seed, 1])
    plan = _plan(_drafts(config, rng), config, rng)
    brands = rng.choice(tuple(BRANDS), size=config.items)
    items = []
    for n, draft in enumerate(plan.drafts):
        brand = str(brands[draft.style_no])
        words = hostile_title(rng) if n in plan.hostile else title(draft.product, rng)
        is_grouped = draft.style_no in plan.grouped and draft.original is None
        items.append(
            Item(
                item_id=plan.ids[n],
                product=draft.product,
                title=words,
                brand=None if rng.random() < NO_BRAND_SHARE else brand,
                price=_price(draft.product, BRANDS[brand], rng),
                stock=0 if rng.random() < config.sold_out_share else 1 + int(rng.poisson(20)),
                first_day=draft.first_day,
                style_no=draft.style_no,
                variant_group=f"G{draft.style_no:05d}" if is_grouped else None,
                view=draft.view,
                picture_seed=draft.picture_seed,
                broken=plan.broken.get(n),
                duplicate_of=None if draft.original is None else plan.ids[draft.original],
            )
        )
    return Shop(config, tuple(sorted(items, key=lambda item: item.item_id)))


def _drafts(config: ShopConfig, rng: np.random.Generator) -> list[_Draft]:
    """Make the styles, then their variants, then the items that are listed twice."""
    n_copies = round(config.items * config.duplicate_share)
    n_styles = config.items - n_copies - round(config.items * config.variant_share)
    if n_styles < 1:
        raise ValueError("variant_share and duplicate_share leave no item of its own")
    drafts = [
        _fresh(sample_product(rng), n, _first_day(config, rng), config, rng)
        for n in range(n_styles)
    ]
    worn = {d.style_no: {d.product.colour} for d in drafts}
    for _ in range(config.items - n_copies - n_styles):
        style = drafts[int(rng.integers(n_styles))]
        product = recolour(style.product, worn[style.style_no], rng)
        worn[style.style_no].add(product.colour)
        is_later = rng.random() < 0.3
        day = style.first_day + (int(rng.exponential(25)) if is_later else 0)
        drafts.append(_fresh(product, style.style_no, min(day, config.days - 1), config, rng))
    for original in rng.choice(len(drafts), n_copies, replace=False):
        source = drafts[original]
        day = int(rng.integers(source.first_day, config.days))
        drafts.append(replace(source, first_day=day, original=int(original)))
    return drafts


def recolour(product: Product, taken: Collection[str], rng: np.random.Generator) -> Product:
    """Return the product in another colour, one that is not `taken` where one is left."""
    second = product.second_colour
    fitting = [
        c for c in COLOURS if c != product.colour and (second == NONE or contrast(c, second) > 110)
    ]
    colour = str(rng.choice([c for c in fitting if c not in taken] or fitting))
    return canonical(replace(product, colour=colour))


def _fresh(
    product: Product, style_no: int, day: int, config: ShopConfig, rng: np.random.Generator
) -> _Draft:
    clear = 1 - config.close_up_share - config.dark_share
    view = str(rng.choice(VIEWS, p=(clear, config.close_up_share, config.dark_share)))
    return _Draft(product, style_no, day, int(rng.integers(2**31)), view)


def _first_day(config: ShopConfig, rng: np.random.Generator) -> int:
    day = int(rng.integers(config.days))
    return 0 if rng.random() < config.existing_share else day


def _plan(drafts: list[_Draft], config: ShopConfig, rng: np.random.Generator) -> _Plan:
    """Number the items in the order in which they appeared, and choose the odd ones."""
    order = sorted(range(len(drafts)), key=lambda n: (drafts[n].first_day, n))
    ids = [""] * len(drafts)
    for place, n in enumerate(order, 1):
        ids[n] = f"P{place:05d}"
    counts = Counter(d.style_no for d in drafts if d.original is None)
    # A listed-twice item keeps its picture, or it would not be byte-equal to its copy.
    copied = {d.original for d in drafts} | {
        n for n, d in enumerate(drafts) if d.original is not None
    }
    shuffled = [int(n) for n in rng.permutation(len(drafts))]
    breakable = [n for n in shuffled if n not in copied]
    n_broken = round(config.broken_share * len(drafts))
    n_hostile = round(config.hostile_share * len(drafts))
    return _Plan(
        drafts=drafts,
        ids=ids,
        grouped=frozenset(style for style, count in counts.items() if count > 1),
        broken={n: BROKEN_KINDS[i % 4] for i, n in enumerate(breakable[:n_broken])},
        hostile=frozenset(shuffled[-n_hostile:] if n_hostile else ()),
    )


def _price(product: Product, level: float, rng: np.random.Generator) -> float:
    """Return a price that ends in 9 or .90, by type, material and brand."""
    typical = BASE_PRICES[product.type] * DEAR_MATERIALS.get(product.material, 1.0) * level
    price = typical * float(rng.lognormal(0, 0.12))
    return max(9.0, round(price / 10) * 10 - 1.0) if price > 60 else int(price) + 0.9

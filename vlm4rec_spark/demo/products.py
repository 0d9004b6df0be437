"""What a synthetic product is: its visible attributes, and the rule that gives style and occasion.

Style and occasion follow from what can be seen by adding up points (`STYLE_POINTS`,
`OCCASION_POINTS`) and taking the highest sum; products between two styles are the ambiguity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (40, 40, 45),
    "white": (240, 238, 232),
    "grey": (140, 143, 150),
    "navy": (32, 46, 98),
    "sky blue": (122, 184, 228),
    "red": (200, 38, 44),
    "pink": (240, 150, 180),
    "emerald": (16, 128, 88),
    "mustard": (216, 164, 40),
    "orange": (236, 116, 44),
    "purple": (118, 70, 158),
    "brown": (116, 74, 46),
}
PATTERNS = ("plain", "striped", "checked", "dotted", "floral", "colour-block")
PATTERN_SHARES = (0.25, 0.15, 0.15, 0.15, 0.15, 0.15)
STYLES = ("minimalist", "bohemian", "classic", "sporty", "romantic", "streetwear")
OCCASIONS = ("office", "garden party", "beach wedding", "weekend", "evening", "gym")
ROOMS = ("living room", "bedroom", "dining room", "home office", "hallway", "terrace")
NONE = "none"


@dataclass(frozen=True)
class Kind:
    """A product type: where the shop files it, and which materials, cuts and finishes exist."""

    category: str
    materials: tuple[str, ...]
    cuts: tuple[str, ...]
    finishes: tuple[str, ...]
    is_home: bool = False


KINDS: dict[str, Kind] = {
    "dress": Kind(
        "Dresses",
        ("silk", "linen", "knit", "denim"),
        ("mini", "midi", "maxi"),
        ("sleeveless", "short sleeves", "long sleeves"),
    ),
    "shirt": Kind(
        "Shirts",
        ("silk", "linen", "denim", "knit"),
        ("collared", "round-neck", "v-neck"),
        ("short sleeves", "long sleeves"),
    ),
    "trousers": Kind(
        "Trousers",
        ("denim", "linen", "wool", "leather", "silk"),
        ("slim", "wide-leg"),
        ("cropped length", "full length"),
    ),
    "skirt": Kind(
        "Skirts",
        ("denim", "leather", "silk", "wool", "linen", "knit"),
        ("mini", "midi", "maxi"),
        ("A-line cut", "pencil cut"),
    ),
    "coat": Kind(
        "Coats",
        ("wool", "leather", "denim", "linen", "knit"),
        ("cropped", "long"),
        ("double-breasted buttons", "a tied belt"),
    ),
    "knitwear": Kind(
        "Knitwear",
        ("knit", "wool", "linen", "silk"),
        ("crew-neck", "turtleneck", "cardigan"),
        ("short sleeves", "long sleeves"),
    ),
    "handbag": Kind(
        "Bags",
        ("leather", "denim", "knit", "linen", "silk"),
        ("tote", "flap"),
        ("short top handle", "long shoulder strap"),
    ),
    "sneaker": Kind(
        "Shoes",
        ("leather", "denim", "knit", "linen"),
        ("low-top", "high-top"),
        ("white sole", "gum sole"),
    ),
    "boot": Kind(
        "Shoes",
        ("leather", "denim", "wool", "knit"),
        ("ankle", "knee-high"),
        ("flat heel", "high heel"),
    ),
    "hat": Kind(
        "Accessories",
        ("wool", "linen", "knit", "denim", "leather"),
        ("wide-brim", "baseball", "beanie"),
        ("contrast band", "no band"),
    ),
    "scarf": Kind(
        "Accessories",
        ("wool", "silk", "knit", "linen"),
        ("long", "short"),
        ("fringed ends", "clean hem"),
    ),
    "armchair": Kind(
        "Furniture",
        ("leather", "linen", "wool", "denim", "knit"),
        ("high-back", "low-back"),
        ("wooden legs", "metal legs"),
        is_home=True,
    ),
    "lamp": Kind(
        "Lighting",
        ("linen", "silk", "knit", "leather", "wool"),
        ("table", "floor"),
        ("cone shade", "drum shade"),
        is_home=True,
    ),
    "vase": Kind(
        "Decoration",
        ("ceramic", "wood"),
        ("bottle", "round", "flared"),
        ("two handles", "no handles"),
        is_home=True,
    ),
    "rug": Kind(
        "Textiles",
        ("wool", "linen", "knit", "denim"),
        ("rectangular", "round"),
        ("fringed edge", "bound edge"),
        is_home=True,
    ),
    "cushion": Kind(
        "Textiles",
        ("linen", "silk", "knit", "wool", "leather", "denim"),
        ("square", "bolster"),
        ("tassels", "piped edge"),
        is_home=True,
    ),
}
TYPES = tuple(KINDS)
MATERIALS = ("denim", "knit", "leather", "silk", "linen", "wool", "ceramic", "wood")
SYMMETRIC_PATTERNS = ("striped", "checked", "colour-block")
"""Half of the surface each: nobody sees which colour is 'first', so the palette decides."""


@dataclass(frozen=True)
class Product:
    """The visible attributes of one product; style, occasion and room follow from them."""

    type: str
    colour: str
    second_colour: str
    pattern: str
    material: str
    cut: str
    finish: str

    @property
    def kind(self) -> Kind:
        """The type's entry in `KINDS`."""
        return KINDS[self.type]

    @property
    def sleeves(self) -> str | None:
        """'sleeveless', 'short' or 'long' for dresses, shirts and knitwear; None elsewhere."""
        if self.type not in ("dress", "shirt", "knitwear"):
            return None
        return self.finish.removesuffix(" sleeves")

    @property
    def style(self) -> str:
        """The style with most points; the first in `STYLES` on a tie."""
        return _highest(STYLES, _style_points(self))

    @property
    def occasion(self) -> str:
        """The occasion with most points; the first in `OCCASIONS` on a tie."""
        return _highest(OCCASIONS, _occasion_points(self))

    @property
    def room(self) -> str:
        """The room with most points; meant for home products."""
        return _highest(ROOMS, _room_points(self))


def sample_product(rng: np.random.Generator, kind: str | None = None) -> Product:
    """Draw a product; the second colour differs visibly from the first."""
    name = kind or str(rng.choice(TYPES))
    options = KINDS[name]
    colour = str(rng.choice(tuple(COLOURS)))
    pattern = str(rng.choice(PATTERNS, p=PATTERN_SHARES))
    others = [c for c in COLOURS if contrast(c, colour) > 110]
    second = NONE if pattern == "plain" else str(rng.choice(others))
    product = Product(
        type=name,
        colour=colour,
        second_colour=second,
        pattern=pattern,
        material=str(rng.choice(options.materials)),
        cut=str(rng.choice(options.cuts)),
        finish=str(rng.choice(options.finishes)),
    )
    return canonical(product)


def canonical(product: Product) -> Product:
    """Order the two colours by the palette where the pattern does not tell which is the first."""
    order = tuple(COLOURS)
    first, second = product.colour, product.second_colour
    if product.pattern in SYMMETRIC_PATTERNS and order.index(first) > order.index(second):
        return replace(product, colour=second, second_colour=first)
    return product


def contrast(first: str, second: str) -> float:
    """Euclidean distance of two palette colours in RGB, 0 to 441."""
    return float(np.linalg.norm(np.subtract(COLOURS[first], COLOURS[second], dtype=float)))


Points = dict[str, float]

STYLE_POINTS: dict[str, Points] = {
    "plain": {"minimalist": 2.0},
    "striped": {"sporty": 1.4, "classic": 0.6},
    "checked": {"classic": 1.6, "streetwear": 0.5},
    "dotted": {"romantic": 1.2, "classic": 0.5},
    "floral": {"romantic": 1.6, "bohemian": 1.5},
    "colour-block": {"sporty": 1.2, "streetwear": 1.5},
    "denim": {"streetwear": 1.8},
    "knit": {"bohemian": 1.0, "sporty": 0.9},
    "leather": {"streetwear": 1.0, "classic": 0.9},
    "silk": {"romantic": 1.6, "minimalist": 0.4},
    "linen": {"bohemian": 1.5, "minimalist": 0.6},
    "wool": {"classic": 1.7},
    "ceramic": {"minimalist": 0.8, "classic": 0.6, "romantic": 0.4},
    "wood": {"bohemian": 1.6, "classic": 0.4},
    **{name: {"minimalist": 1.1} for name in ("black", "white", "grey")},
    **{name: {"romantic": 1.1} for name in ("pink", "purple")},
    **{name: {"bohemian": 1.1} for name in ("mustard", "orange", "brown")},
    **{name: {"sporty": 1.0} for name in ("red", "sky blue", "emerald")},
    "navy": {"classic": 1.1},
    "sneaker": {"sporty": 1.2},
    **{name: {"bohemian": 0.7} for name in ("maxi", "wide-brim", "wide-leg")},
    **{name: {"streetwear": 0.8} for name in ("baseball", "beanie", "high-top")},
}

OCCASION_POINTS: dict[str, Points] = {
    "classic": {"office": 2.0, "evening": 0.3},
    "minimalist": {"office": 1.7, "evening": 0.6},
    "romantic": {"garden party": 1.6, "beach wedding": 0.5, "evening": 0.9},
    "bohemian": {"garden party": 1.0, "beach wedding": 1.3, "weekend": 0.5},
    "streetwear": {"weekend": 2.2},
    "sporty": {"gym": 1.9},
    "silk": {"evening": 1.3},
    "leather": {"evening": 0.8},
    "linen": {"beach wedding": 1.2},
    **{name: {"garden party": 0.9} for name in ("floral", "dotted")},
    **{name: {"gym": -0.7, "evening": 0.3} for name in ("dress", "skirt", "handbag")},
    **{name: {"gym": -2.0, "beach wedding": -1.0, "weekend": 0.5} for name in ("coat", "boot")},
    "maxi": {"beach wedding": 0.6},
}

ROOM_POINTS: dict[str, Points] = {
    "armchair": {"living room": 1.0, "home office": 0.5},
    "lamp": {"bedroom": 0.6, "home office": 0.8, "hallway": 0.3},
    "vase": {"dining room": 1.0, "hallway": 0.6, "terrace": 0.3},
    "rug": {"living room": 0.5, "hallway": 0.8, "dining room": 0.3},
    "cushion": {"bedroom": 0.8, "living room": 0.4, "terrace": 0.6},
    "minimalist": {"home office": 1.4},
    "classic": {"dining room": 0.9, "home office": 0.4},
    "romantic": {"bedroom": 1.5},
    "bohemian": {"terrace": 1.4, "living room": 0.3},
    "sporty": {"hallway": 1.4},
    "streetwear": {"living room": 1.3},
    "leather": {"living room": 0.5, "home office": 0.3},
    "silk": {"bedroom": 0.5},
    "linen": {"terrace": 0.4},
}


def _style_points(product: Product) -> Points:
    seen = (product.pattern, product.material, product.colour, product.type, product.cut)
    return _add_up(STYLE_POINTS, seen)


def _occasion_points(product: Product) -> Points:
    seen = (product.style, product.material, product.pattern, product.type, product.cut)
    return _add_up(OCCASION_POINTS, seen)


def _room_points(product: Product) -> Points:
    return _add_up(ROOM_POINTS, (product.type, product.style, product.material))


def _add_up(table: dict[str, Points], seen: tuple[str, ...]) -> Points:
    total: Points = {}
    for value in seen:
        for name, points in table.get(value, {}).items():
            total[name] = total.get(name, 0.0) + points
    return total


def _highest(names: tuple[str, ...], points: Points) -> str:
    return max(names, key=lambda name: points.get(name, 0.0))

"""The right answer to the product's own prompts for a synthetic product and a view of it.

A view says what a picture leaves out: a close-up hides the shape, a dark picture the surface.
"""

from __future__ import annotations

import json

from vlm4rec_spark.demo.products import KINDS, NONE, Product
from vlm4rec_spark.descriptions.schema import NOT_VISIBLE, AttributeSchema

VIEWS = ("clear", "close-up", "dark")
HIDDEN: dict[str, frozenset[str]] = {
    "clear": frozenset(),
    "close-up": frozenset({"type", "sleeves", "details", "style", "occasion", "room"}),
    "dark": frozenset(
        {"colour", "second_colour", "pattern", "material", "details", "style", "occasion", "room"}
    ),
}
"""Attributes a picture of this view cannot show."""

TOUCH = {
    "denim": "sturdy denim",
    "knit": "cosy knit",
    "leather": "glossy leather",
    "silk": "fluid silk",
    "linen": "breezy linen",
    "wool": "warm wool",
    "ceramic": "glazed ceramic",
    "wood": "grained wood",
}
MOOD = {
    "minimalist": "Clean and understated",
    "bohemian": "Free-spirited and earthy",
    "classic": "Timeless and polished",
    "sporty": "Energetic and easy to live with",
    "romantic": "Soft and dreamy",
    "streetwear": "Bold and urban",
}
PRINT = {
    "plain": "in one plain colour",
    "striped": "striped with {}",
    "checked": "checked with {}",
    "dotted": "dotted in {}",
    "floral": "with a {} floral print",
    "colour-block": "colour-blocked with {}",
}
WITHOUT_ARTICLE = ("trousers", "knitwear")


def true_attributes(product: Product, view: str = "clear") -> dict[str, str]:
    """Return every attribute any prompt may ask for; 'not visible' where the view hides it.

    Home products have no occasion of their own and clothes no room: both are given all the same,
    so that any prompt has an answer.
    """
    values = {
        "type": product.type,
        "colour": product.colour,
        "second_colour": product.second_colour,
        "pattern": product.pattern,
        "material": product.material,
        "sleeves": product.sleeves or NOT_VISIBLE,
        "details": f"{product.cut}, {product.finish}",
        "style": product.style,
        "occasion": product.occasion,
        "room": product.room,
    }
    return {k: NOT_VISIBLE if k in HIDDEN[view] else v for k, v in values.items()}


def true_description(product: Product, view: str = "clear") -> str:
    """Return the sentence a perfect model would write about a picture of this view."""
    if view == "dark":
        article = "" if product.type in WITHOUT_ARTICLE else _article(product.type)
        return f"Only the outline of {article}{product.type}; the picture is too dark for more."
    look = f"made of {TOUCH[product.material]}, {_print(product)}"
    if view == "close-up":
        return f"A close look at {product.colour} fabric, {look}; the whole shape is not shown."
    use = f"the {product.room}" if KINDS[product.type].is_home else _occasion(product.occasion)
    return f"{MOOD[product.style]}: {_noun(product)}, {look}, for {use}."


def true_answer(product: Product, view: str, schema: AttributeSchema, category: str | None) -> str:
    """Return the compact JSON answer to `schema`'s prompt for an item of `category`."""
    values = true_attributes(product, view)
    values["description"] = true_description(product, view)
    asked = {f.name: values[f.name] for f in schema.fields_for(category)}
    return json.dumps(asked, separators=(",", ":"))


def _print(product: Product) -> str:
    second = "" if product.second_colour == NONE else product.second_colour
    return PRINT[product.pattern].format(second)


def _noun(product: Product) -> str:
    article = "" if product.type in WITHOUT_ARTICLE else _article(product.colour)
    finish = "no sleeves" if product.finish == "sleeveless" else product.finish
    return f"{article}{product.colour} {product.cut} {product.type} with {finish}"


def _article(word: str) -> str:
    return "an " if word[0] in "aeiou" else "a "


def _occasion(occasion: str) -> str:
    return {"office": "the office", "gym": "the gym", "weekend": "a relaxed weekend"}.get(
        occasion, f"{_article(occasion)}{occasion}"
    )

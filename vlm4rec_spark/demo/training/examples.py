"""One training example by its number: a product, a view of it, and the question asked about it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vlm4rec_spark.demo.products import (
    COLOURS,
    KINDS,
    MATERIALS,
    NONE,
    OCCASIONS,
    PATTERNS,
    ROOMS,
    STYLES,
    TYPES,
    Product,
    sample_product,
)
from vlm4rec_spark.demo.render import render
from vlm4rec_spark.demo.titles import hostile_title, title
from vlm4rec_spark.demo.truth import HIDDEN, VIEWS, true_answer
from vlm4rec_spark.descriptions.prompts import system_prompt, user_prompt
from vlm4rec_spark.descriptions.schema import AttributeSchema, load_attributes

CONF = Path(__file__).parents[3] / "conf" / "attributes"
SCHEMAS = {name: load_attributes(name, (CONF,)) for name in ("fashion", "home")}
STORED_SIDE = 136
"""Side of a stored picture; the model sees 128 pixels of it, so that crops can vary."""
GRID = 8
HIDDEN_LABEL = -100
VIEW_SHARES = (0.8, 0.1, 0.1)
HOSTILE_SHARE = 0.05

VOCABULARIES: dict[str, tuple[str, ...]] = {
    "type": TYPES,
    "colour": tuple(COLOURS),
    "second_colour": (NONE, *COLOURS),
    "pattern": PATTERNS,
    "material": MATERIALS,
    "cut": tuple(sorted({c for kind in KINDS.values() for c in kind.cuts})),
    "finish": tuple(sorted({f for kind in KINDS.values() for f in kind.finishes})),
    "style": STYLES,
    "occasion": OCCASIONS,
    "room": ROOMS,
    "view": VIEWS,
}
"""What the vision tower learns to tell, and the values of each."""


@dataclass(frozen=True)
class Example:
    """A picture to draw (`product`, `view`, `seed`) and a question (`schema`, `category`)."""

    product: Product
    view: str
    seed: int
    schema: AttributeSchema
    category: str | None
    title: str | None

    @property
    def system(self) -> str:
        """The static part of the prompt."""
        return system_prompt(self.schema, self.category)

    def question(self, *, with_title: bool) -> str:
        """The words after the picture."""
        return user_prompt(self.title if with_title else None)

    @property
    def answer(self) -> str:
        """The right answer."""
        return true_answer(self.product, self.view, self.schema, self.category)


def is_combination_held_out(product: Product) -> bool:
    """Tell whether (type, colour, material) is one of the about 6 % never used in training."""
    code = 7 * TYPES.index(product.type) + 5 * tuple(COLOURS).index(product.colour)
    return (code + 3 * MATERIALS.index(product.material)) % 17 == 0


def make_example(
    number: int, *, held_out_combination: bool = False, view: str | None = None
) -> Example:
    """Return example `number`; the same one every time."""
    rng = np.random.default_rng(number)
    product = sample_product(rng)
    while is_combination_held_out(product) != held_out_combination:
        product = sample_product(rng)
    schema = SCHEMAS["home" if product.kind.is_home else "fashion"]
    drawn = str(rng.choice(VIEWS, p=VIEW_SHARES))
    seed = int(rng.integers(2**31))
    category = product.kind.category if rng.random() < 0.8 else None
    # Titles come last: a new wording leaves the pictures of every number as they were.
    words = hostile_title(rng) if rng.random() < HOSTILE_SHARE else title(product, rng)
    return Example(product, view or drawn, seed, schema, category, words)


def photograph(example: Example) -> tuple[Image.Image, npt.NDArray[np.uint8]]:
    """Draw an example as a JPEG-degraded picture, and its body mask; both of the same side."""
    rng = np.random.default_rng(example.seed)
    photo = render(example.product, example.view, example.seed, int(rng.choice((160, 192, 240))))
    packed = io.BytesIO()
    Image.fromarray(photo.pixels).save(packed, "JPEG", quality=int(rng.integers(72, 96)))
    return Image.open(packed).convert("RGB"), photo.body


def labels(example: Example) -> npt.NDArray[np.int64]:
    """Return one class number per vocabulary; `HIDDEN_LABEL` where the picture cannot tell."""
    product, hidden = example.product, HIDDEN[example.view]
    values = {
        "type": product.type,
        "colour": product.colour,
        "second_colour": product.second_colour,
        "pattern": product.pattern,
        "material": product.material,
        "cut": None if "details" in hidden else product.cut,
        "finish": None if "details" in hidden else product.finish,
        "style": product.style,
        "occasion": None if product.kind.is_home else product.occasion,
        "room": product.room if product.kind.is_home else None,
        "view": example.view,
    }
    return np.array(
        [
            HIDDEN_LABEL if name in hidden or (value := values[name]) is None
            else VOCABULARIES[name].index(value)
            for name in VOCABULARIES
        ],
        np.int64,
    )  # fmt: skip

"""The words sent to the model: one static system message, then the pictures, then the title."""

from __future__ import annotations

import re

from vlm4rec_spark.descriptions.schema import NOT_VISIBLE, AttributeSchema, Field

ANSWER = (
    "Answer with one JSON object that has these keys. "
    f"Write '{NOT_VISIBLE}' where the picture does not show it."
)
TASK = "Describe this product."
TITLE = "Its title in the catalogue, which may be wrong: "
MAX_TITLE_CHARACTERS = 200

BRACKETED = re.compile(
    r"\[(/?(?:INST|SYSTEM_PROMPT|MODEL_SETTINGS|AVAILABLE_TOOLS|TOOL_\w+|ARGS|CALL_ID|THINK"
    r"|IMG(?:_\w+)?|(?:BEGIN_)?AUDIO|PREFIX|MIDDLE|SUFFIX|gMASK))\]"
)
"""Control tokens in square brackets, by name: most such words in titles are sizes and offers."""


def system_prompt(schema: AttributeSchema, category: str | None) -> str:
    """Return the static part: the same for all items of a category, so a server can cache it."""
    lines = [
        schema.instructions,
        ANSWER,
        *(_line(field) for field in schema.fields_for(category)),
    ]
    return "\n".join(lines)


def _line(field: Field) -> str:
    limit = (
        f"one of {', '.join(field.values)}" if field.values else f"at most {field.max_words} words"
    )
    return f"- {field.name}: {field.ask}; {limit}"


def user_prompt(title: str | None) -> str:
    """Return the words after the pictures; a title is cut to one bounded, harmless line.

    Angle brackets, bars and control characters go, and the brackets of '[INST]': that, '<image>' or
    '<|im_end|>' in a title would count as one of the model's own control tokens.

    >>> user_prompt("Model 4471,  teal")
    'Describe this product. Its title in the catalogue, which may be wrong: Model 4471, teal'
    """
    harmless = "".join(c if c.isprintable() and c not in "<>|" else " " for c in title or "")
    harmless = BRACKETED.sub(r" \1 ", harmless)
    line = " ".join(harmless.split())[:MAX_TITLE_CHARACTERS]
    return f"{TASK} {TITLE}{line}" if line else TASK

"""Attribute files: what the model is asked, and the JSON it must answer with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vlm4rec_spark.descriptions.outfits import Outfit, parse_outfit
from vlm4rec_spark.errors import ConfigError, near

NOT_VISIBLE = "not visible"
"""The answer that is always allowed: the picture does not show this attribute."""


@dataclass(frozen=True)
class Field:
    """One attribute: either a choice (`values`) or a few words (`max_words`).

    Its type in the file is `choice` or `text`. There are no flags and numbers: values become words
    of texts and reasons, where 'true' or '4' says nothing and 'waterproof' or 'four legs' does.
    """

    name: str
    ask: str
    values: tuple[str, ...] = ()
    max_words: int = 0
    categories: tuple[str, ...] = ()

    def applies_to(self, category: str | None) -> bool:
        """Tell whether an item of this category is asked for the field; no category means yes."""
        return not self.categories or category is None or category in self.categories


@dataclass(frozen=True)
class AttributeSchema:
    """The content of one attribute file, small and frozen: it travels to the workers."""

    name: str
    instructions: str
    fields: tuple[Field, ...]
    description: Field
    outfit: Outfit | None = None
    """Which items complete which; never part of what the model is asked."""

    def fields_for(self, category: str | None) -> tuple[Field, ...]:
        """Return the fields an item of this category is asked for, the description last."""
        return (*(f for f in self.fields if f.applies_to(category)), self.description)

    def variants(self) -> tuple[str | None, ...]:
        """Return one category for each different set of fields (None: all fields)."""
        named = sorted({c for f in self.fields for c in f.categories})
        seen: dict[tuple[str, ...], str | None] = {}
        for category in (None, "", *named):
            seen.setdefault(tuple(f.name for f in self.fields_for(category)), category)
        return tuple(seen.values())


def json_schema(schema: AttributeSchema, category: str | None) -> dict[str, Any]:
    """Return the JSON schema of an answer for an item of this category."""
    fields = schema.fields_for(category)
    return {
        "type": "object",
        "properties": {f.name: _property(f) for f in fields},
        "required": [f.name for f in fields],
        "additionalProperties": False,
    }


def _property(field: Field) -> dict[str, Any]:
    if field.values:
        return {"type": "string", "enum": [*field.values, NOT_VISIBLE]}
    # No `maxLength`: what may follow each character of a counted string is worked out anew, which
    # takes as long as a small model. `max_tokens` bounds the answer, and `parse_answer` the words.
    return {"type": "string"}


def load_attributes(name: str, folders: tuple[Path, ...]) -> AttributeSchema:
    """Read an attribute file by path, or by name from the first folder that has `NAME.yml`.

    Raises:
        ConfigError: no such file, or its content is not an attribute file.
    """
    candidates = [Path(name), *(folder / f"{name}.yml" for folder in folders)]
    for path in candidates:
        if path.is_file():
            return parse_attributes(yaml.safe_load(path.read_text("utf-8")), str(path))
    known = sorted(p.stem for folder in folders if folder.is_dir() for p in folder.glob("*.yml"))
    raise ConfigError(
        f"There is no attribute file '{name}'{near(name, known)} "
        f"Known names: {', '.join(known) or 'none'}; a path to a .yml file works too."
    )


def parse_attributes(data: object, origin: str) -> AttributeSchema:
    """Turn the content of an attribute file into a schema; every mistake is listed at once."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{origin}: expected a mapping with name, instructions, fields.")
    required = ("name", "instructions", "fields", "description")
    known = (*required, "outfit")
    mistakes = [f"{key} is missing" for key in required if not data.get(key)]
    mistakes += [f"unknown key '{k}'{near(str(k), known)}" for k in data if k not in known]
    fields = tuple(
        _field(name, spec, mistakes) for name, spec in dict(data.get("fields") or {}).items()
    )
    description = _field("description", data.get("description") or {}, mistakes)
    outfit = parse_outfit(data.get("outfit"), fields, mistakes)
    if mistakes:
        raise ConfigError(f"{origin}: " + "; ".join(mistakes))
    instructions = " ".join(str(data["instructions"]).split())
    return AttributeSchema(str(data["name"]), instructions, fields, description, outfit)


def _field(name: str, spec: object, mistakes: list[str]) -> Field:
    if not isinstance(spec, Mapping):
        mistakes.append(f"field {name}: expected 'ask' and 'values' or 'max_words'")
        return Field(name, "")
    known = ("ask", "type", "values", "max_words", "categories")
    mistakes += [f"field {name}: unknown key '{k}'{near(k, known)}" for k in spec if k not in known]
    if not name.isidentifier():
        mistakes.append(f"field {name!r}: the name must be a plain identifier")
    values = tuple(str(v) for v in spec.get("values") or ())
    max_words = spec.get("max_words") or 0
    if not isinstance(max_words, int) or bool(values) == bool(max_words):
        mistakes.append(f"field {name}: give either 'values' (a list) or 'max_words' (a number)")
        max_words = 0
    kind = "choice" if values else "text"
    if spec.get("type", kind) != kind:
        mistakes.append(
            f"field {name}: type is {spec['type']!r}; expected 'choice' with 'values', or 'text' "
            "with 'max_words' (for yes or no, and for numbers, list the words a shopper would use)"
        )
    if len(set(values)) < len(values):
        mistakes.append(f"field {name}: a value stands twice")
    if not spec.get("ask"):
        mistakes.append(f"field {name}: 'ask' is missing")
    categories = tuple(str(c) for c in spec.get("categories") or ())
    return Field(name, " ".join(str(spec.get("ask")).split()), values, max_words, categories)

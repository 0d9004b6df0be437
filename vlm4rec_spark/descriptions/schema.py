"""Attribute files: what the model is asked, and the JSON it must answer with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm4rec_spark.descriptions.outfits import Outfit, parse_outfit
from vlm4rec_spark.errors import ConfigError, near
from vlm4rec_spark.yaml_files import read_yaml

NOT_VISIBLE = "not visible"
"""The answer that is always allowed: the picture does not show this attribute."""
DESCRIPTION = "description"
"""The key of an answer's description, which no field can have as well."""
KEYS = ("name", "instructions", "fields", DESCRIPTION)
FIELD_KEYS = ("ask", "type", "values", "max_words", "categories")
QUOTE = "put it in quotes (YAML takes yes, no, on and off for true and false)"


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
            return parse_attributes(read_yaml(path, "attribute file"), str(path))
    known = sorted(p.stem for folder in folders if folder.is_dir() for p in folder.glob("*.yml"))
    raise ConfigError(
        f"There is no attribute file '{name}'{near(name, known)} "
        f"Known names: {', '.join(known) or 'none'}; a path to a .yml file works too."
    )


def parse_attributes(data: object, origin: str) -> AttributeSchema:
    """Turn the content of an attribute file into a schema; every mistake is listed at once."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{origin}: expected a mapping with name, instructions, fields.")
    mistakes = [f"{key} is missing" for key in KEYS if not data.get(key)]
    mistakes += _unknown_keys(data, (*KEYS, "outfit"))
    name, instructions = (_text(key, data.get(key), mistakes) for key in KEYS[:2])
    fields = tuple(_fields(data.get("fields") or {}, mistakes))
    description = _field(DESCRIPTION, data.get(DESCRIPTION), mistakes)
    outfit = parse_outfit(data.get("outfit"), fields, mistakes)
    if mistakes:
        raise ConfigError(f"{origin}: " + "; ".join(mistakes))
    return AttributeSchema(name, instructions, fields, description, outfit)


def _fields(data: object, mistakes: list[str]) -> Iterator[Field]:
    if not isinstance(data, Mapping):
        mistakes.append(
            f"fields: expected a mapping such as {{colour: {{ask: the colour, max_words: 3}}}} "
            f"(found {type(data).__name__})"
        )
        return
    for name, spec in data.items():
        if not isinstance(name, str):
            mistakes.append(f"fields: the name {name!r} is no text: {QUOTE}")
        elif name == DESCRIPTION:
            mistakes.append(
                f"fields: '{name}' stands beside fields, not in it; give this field another name"
            )
        else:
            yield _field(name, spec, mistakes)


def _field(name: str, spec: object, mistakes: list[str]) -> Field:
    if spec is None and name == DESCRIPTION:
        return Field(name, "")  # told as missing
    if not isinstance(spec, Mapping):
        mistakes.append(f"field {name}: expected 'ask' and 'values' or 'max_words'")
        return Field(name, "")
    where = f"field {name}: "
    mistakes += _unknown_keys(spec, FIELD_KEYS, where)
    if not name.isidentifier():
        mistakes.append(f"field {name!r}: the name must be a plain identifier")
    if not spec.get("ask"):
        mistakes.append(f"{where}'ask' is missing")
    ask = _text(f"{where}'ask'", spec.get("ask"), mistakes)
    values, max_words = _limits(spec, where, mistakes)
    categories = _texts(spec.get("categories"), f"{where}'categories'", mistakes)
    return Field(name, ask, values, max_words, categories)


def _limits(
    spec: Mapping[str, object], where: str, mistakes: list[str]
) -> tuple[tuple[str, ...], int]:
    """Return what an answer is held to: its values, or its number of words."""
    given = [key for key in ("values", "max_words") if spec.get(key) is not None]
    if len(given) != 1:
        mistakes.append(f"{where}give either 'values' (a list) or 'max_words' (a number)")
        return (), 0
    kind = "choice" if given == ["values"] else "text"
    if spec.get("type", kind) != kind:
        mistakes.append(
            f"{where}type is {spec['type']!r}; expected 'choice' with 'values', or 'text' "
            "with 'max_words' (for yes or no, and for numbers, list the words a shopper would use)"
        )
    if kind == "choice":
        return _values(spec["values"], where, mistakes), 0
    return (), _max_words(spec["max_words"], where, mistakes)


def _values(data: object, where: str, mistakes: list[str]) -> tuple[str, ...]:
    """Return the values with single spaces, as answers are compared with them."""
    before = len(mistakes)
    listed = [" ".join(value.split()) for value in _texts(data, f"{where}'values'", mistakes)]
    # It is allowed anyway; the schema of an answer would name it twice.
    values = tuple(value for value in listed if value.lower() != NOT_VISIBLE)
    if len(set(values)) < len(values):
        mistakes.append(f"{where}a value stands twice")
    if not values and len(mistakes) == before:
        mistakes.append(f"{where}'values' needs a value besides '{NOT_VISIBLE}'")
    return values


def _max_words(data: object, where: str, mistakes: list[str]) -> int:
    if isinstance(data, int) and not isinstance(data, bool) and data > 0:
        return data
    mistakes.append(f"{where}'max_words' must be a whole number, 1 or more (found {data!r})")
    return 0


def _texts(data: object, what: str, mistakes: list[str]) -> tuple[str, ...]:
    """Return a list of texts; nothing where it is none."""
    if data is None:
        return ()
    if not isinstance(data, list):
        mistakes.append(f"{what} must be a list, as in [red, sky blue] (found {data!r})")
        return ()
    odd = [each for each in data if not isinstance(each, str) or not each.strip()]
    if not odd:
        return tuple(data)
    found = ", ".join(map(repr, odd))
    mistakes.append(f"{what} must hold text alone (found {found}): {QUOTE}")
    return ()


def _text(what: str, data: object, mistakes: list[str]) -> str:
    """Return a text in one line; what is missing was told."""
    if data and not isinstance(data, str):
        mistakes.append(f"{what} must be text (found {data!r}): {QUOTE}")
    return " ".join(str(data or "").split())


def _unknown_keys(data: Mapping[Any, object], known: Sequence[str], where: str = "") -> list[str]:
    return [
        f"{where}unknown key '{key}'{near(key, known)}"
        if isinstance(key, str)
        else f"{where}the key {key!r} is no text: {QUOTE}"
        for key in data
        if key not in known
    ]

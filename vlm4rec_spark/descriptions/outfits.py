"""Outfits: which items complete which, as told by the block `outfit` of an attribute file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.errors import near

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.schema import Field

KEYS = ("slot_of", "keep", "slots", "goes_with")


@dataclass(frozen=True)
class Outfit:
    """A taxonomy of slots: items of one slot replace each other, items of two may go together."""

    slot_of: str
    """Field that tells the slot."""
    keep: tuple[str, ...]
    """Fields in which two items must agree."""
    slots: tuple[tuple[str, tuple[str, ...]], ...]
    """Slot, and the values of `slot_of` that belong to it."""
    goes_with: tuple[tuple[str, tuple[str, ...]], ...]
    """Slot, and slots that complete it."""

    def partners(self, slot: str) -> tuple[str, ...]:
        """Return the slots that complete a slot, in the order of `slots`; pairs count both ways.

        >>> slots = (("top", ("shirt",)), ("shoes", ("boot",)))
        >>> Outfit("type", ("style",), slots, (("top", ("shoes",)),)).partners("shoes")
        ('top',)
        """
        named = dict(self.goes_with)
        return tuple(
            other
            for other, _ in self.slots
            if other in named.get(slot, ()) or slot in named.get(other, ())
        )


def parse_outfit(data: Any, fields: Sequence[Field], mistakes: list[str]) -> Outfit | None:
    """Read the block `outfit`; add what is wrong with it to the mistakes."""
    if data is None:
        return None
    if not isinstance(data, Mapping) or any(not data.get(key) for key in KEYS):
        mistakes.append(f"outfit: expected a mapping with {', '.join(KEYS)}")
        return None
    mistakes += [f"outfit: unknown key '{k}'{near(str(k), KEYS)}" for k in data if k not in KEYS]
    lists = {"keep": data["keep"], "slots": data["slots"], "goes_with": data["goes_with"]}
    if not isinstance(lists.pop("keep"), list) or not all(map(_is_lists, lists.values())):
        mistakes.append("outfit: keep is a list; slots and goes_with are mappings of lists")
        return None
    outfit = Outfit(
        str(data["slot_of"]),
        tuple(str(name) for name in data["keep"]),
        _pairs(data["slots"]),
        _pairs(data["goes_with"]),
    )
    mistakes += [f"outfit: {problem}" for problem in _problems(outfit, fields)]
    return outfit


def _is_lists(data: Any) -> bool:
    return isinstance(data, Mapping) and all(isinstance(value, list) for value in data.values())


def _pairs(data: Mapping[str, Sequence[Any]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(
        (str(name), tuple(str(value) for value in values)) for name, values in data.items()
    )


def _problems(outfit: Outfit, fields: Sequence[Field]) -> list[str]:
    by_name = {field.name: field for field in fields}
    wanted = (outfit.slot_of, *outfit.keep)
    found = [f"no field '{n}'{near(n, by_name)}" for n in wanted if n not in by_name]
    placed = [value for _, values in outfit.slots for value in values]
    found += [f"'{v}' stands in two slots" for v in dict.fromkeys(placed) if placed.count(v) > 1]
    if outfit.slot_of in by_name:
        values = by_name[outfit.slot_of].values
        found += [
            f"'{v}' is no value of {outfit.slot_of}{near(v, values)}"
            for v in placed
            if v not in values
        ]
    slots = [slot for slot, _ in outfit.slots]
    for slot, others in outfit.goes_with:
        found += [f"no slot '{s}'{near(s, slots)}" for s in (slot, *others) if s not in slots]
        found += [f"slot '{slot}' cannot go with itself"] if slot in others else []
    return list(dict.fromkeys(found))

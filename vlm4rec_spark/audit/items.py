"""The items of an audit, as plain lists in the order of their ids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm4rec_spark.audit.neighbours import NONE, Ints

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Items:
    """Rows of `audit.plan.facts`, sorted by id; a row number is the rank of the id."""

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def ids(self) -> list[str]:
        """Ids, sorted."""
        return self._column("item_id")

    @cached_property
    def titles(self) -> list[str]:
        """Titles; the id where there is none."""
        titles = self._column("title")
        return [title or name for title, name in zip(titles, self.ids, strict=True)]

    @cached_property
    def categories(self) -> list[str | None]:
        """Categories."""
        return self._column("category")

    @cached_property
    def groups(self) -> list[str | None]:
        """Variant groups."""
        return self._column("variant_group")

    @cached_property
    def said(self) -> list[str]:
        """What the catalogue says, as one text."""
        return [text or "" for text in self._column("said")]

    @cached_property
    def descriptions(self) -> list[str]:
        """Descriptions; empty where there is none."""
        return [text or "" for text in self._column("description")]

    @cached_property
    def attributes(self) -> list[dict[str, str | None]]:
        """Described attributes, None for 'not visible'."""
        return [{w["name"]: w["value"] for w in words or ()} for words in self._column("words")]

    @cached_property
    def words(self) -> list[dict[str, str]]:
        """Described attributes that are visible."""
        return [{n: v for n, v in item.items() if v is not None} for item in self.attributes]

    @cached_property
    def confidences(self) -> list[dict[str, float]]:
        """Confidence of the attributes that have one."""
        return [
            {w["name"]: w["confidence"] for w in words or () if w["confidence"] is not None}
            for words in self._column("words")
        ]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: n for n, name in enumerate(self.ids)}

    def rows_of(self, ids: Sequence[str]) -> Ints:
        """Return the row of each id, `NONE` for one that is not here."""
        return np.array([self._places.get(name, NONE) for name in ids], np.int64)

    def _column(self, name: str) -> list[Any]:
        values: list[Any] = self.table[name].to_pylist()
        return values

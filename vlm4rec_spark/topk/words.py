"""The described attributes of all items as numbers, so that whole blocks are compared at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

SPOKEN_FIRST = ("style", "occasion", "room", "material", "pattern", "colour")
"""What shoppers care for; further attributes follow by name."""
SAYS_NOTHING = ("none", "other", "unknown")


@dataclass(frozen=True)
class Words:
    """`codes[a, row]` is the word of attribute `names[a]`, a position in `values`; -1: none."""

    names: tuple[str, ...]
    codes: npt.NDArray[np.int32]
    values: pa.Array

    @cached_property
    def silent(self) -> npt.NDArray[np.bool_]:
        """(values,): whether a word says nothing about an item."""
        return np.isin(np.asarray(self.values.to_pylist(), dtype=object), SAYS_NOTHING)

    def shared(
        self,
        left: npt.NDArray[np.int64],
        right: npt.NDArray[np.int64],
        most: int | None = None,
        worth: npt.NDArray[np.float64] | None = None,
    ) -> pa.ListArray:
        """Return for each pair of rows the words on which both agree, the most telling first.

        Args:
            left: (pairs,) rows; -1 shares nothing.
            right: (pairs,) rows.
            most: words named at most.
            worth: (attributes, pairs) what each word of the right row is worth: the order then
                follows it, and words worth less than nothing are left out.
        """
        agreed = (self.codes[:, left] == self.codes[:, right]) & (self.codes[:, right] >= 0)
        agreed &= left >= 0
        agreed &= ~np.append(self.silent, False)[self.codes[:, right]]
        for a in range(1, len(self.names)):  # a word that two attributes share is named once
            for b in range(a):
                agreed[a] &= ~(agreed[b] & (self.codes[a, right] == self.codes[b, right]))
        codes = self.codes[:, right]
        if worth is not None:
            order = np.argsort(-worth, axis=0, kind="stable")
            agreed = np.take_along_axis(agreed & (worth >= 0), order, 0)
            codes = np.take_along_axis(codes, order, 0)
        if most is not None:
            agreed &= np.cumsum(agreed, axis=0) <= most
        offsets = np.concatenate([[0], np.cumsum(agreed.sum(0))]).astype(np.int32)
        pair, place = np.nonzero(agreed.T)
        picked = self.values.take(pa.array(codes[place, pair]))
        return pa.ListArray.from_arrays(pa.array(offsets), picked)

    def of(self, row: int) -> dict[str, str]:
        """Return the attributes of one item."""
        codes = self.codes[:, row].tolist()
        return {
            name: self.values[code].as_py()
            for name, code in zip(self.names, codes, strict=True)
            if code >= 0
        }


def coded(words: pa.MapArray) -> Words:
    """Number the words of a map column."""
    n = len(words)
    offsets = words.offsets.to_numpy()
    rows = np.repeat(np.arange(n), np.diff(offsets))
    keys = words.keys[offsets[0] : offsets[-1]].dictionary_encode()
    items = words.items[offsets[0] : offsets[-1]].dictionary_encode()
    found = keys.dictionary.to_pylist()
    names = [name for name in SPOKEN_FIRST if name in found]
    names += sorted(name for name in found if name not in SPOKEN_FIRST)
    place = np.array([names.index(name) for name in found], np.int64)
    codes = np.full((len(names), n), -1, np.int32)
    usable = items.indices.is_valid().to_numpy(zero_copy_only=False)
    key = keys.indices.to_numpy(zero_copy_only=False)[usable]
    codes[place[key.astype(np.int64)], rows[usable]] = items.indices.drop_null().to_numpy()
    return Words(tuple(names), codes, items.dictionary)


def shared_words(left: Mapping[str, str], right: Mapping[str, str]) -> list[str]:
    """Return the words of one pair; what `Words.shared` does for many.

    >>> shared_words({"style": "classic", "colour": "red"}, {"style": "classic", "colour": "navy"})
    ['classic']
    """
    pair = pa.array([list(left.items()), list(right.items())], pa.map_(pa.string(), pa.string()))
    words: list[str] = coded(pair).shared(np.array([0]), np.array([1]))[0].as_py()
    return words

"""The catalogue by slot and by what must agree: where an item's complements are looked for.

Items of one slot that agree in the kept attributes form a cell. An item whose slot or one of whose
kept attributes is not visible, or says nothing, is in no cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.topk.centring import mean_vector

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.outfits import Outfit
    from vlm4rec_spark.descriptions.requests import SchemaBook
    from vlm4rec_spark.topk.engines.interface import Rows, Vectors
    from vlm4rec_spark.topk.snapshot import Snapshot

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Wardrobe:
    """All cells. Without the items, which are one array in the same order, it is small."""

    slots: tuple[str, ...]
    """Name of each slot; every attribute file has slots of its own."""
    partners: tuple[tuple[int, ...], ...]
    """Slots that complete each slot."""
    means: Vectors
    """(slots, d) mean vector of each slot."""
    cells: tuple[tuple[int, int], ...]
    """(group, slot) of each cell; items of one group agree in the kept attributes."""
    starts: Numbers
    """(cells + 1,): the items of cell c are `order[starts[c]:starts[c + 1]]`."""
    n_open: Numbers
    """(cells,): of these the first so many may be listed, the most popular first."""

    @cached_property
    def _number(self) -> dict[tuple[int, int], int]:
        return {cell: number for number, cell in enumerate(self.cells)}

    def partner_cells(self, cell: int) -> list[int]:
        """Return the cells that complete a cell and have an item that may be listed."""
        group, slot = self.cells[cell]
        wanted = [self._number.get((group, partner), -1) for partner in self.partners[slot]]
        return [number for number in wanted if number >= 0 and self.n_open[number]]


def hang(snapshot: Snapshot, book: SchemaBook) -> tuple[Wardrobe, Rows]:
    """Return the cells of a catalogue, and the rows of its placed items cell by cell.

    Args:
        snapshot: the catalogue; its words are those that the model was sure enough of.
        book: attribute files with their outfits.
    """
    outfits, file = _outfits(snapshot, book)
    slot, group = np.full(len(snapshot), -1), np.full(len(snapshot), -1)
    slots: list[str] = []
    partners: list[tuple[int, ...]] = []
    for number, outfit in enumerate(outfits):
        mine, names = np.flatnonzero(file == number), [name for name, _ in outfit.slots]
        slot[mine] = _slots(snapshot, outfit, mine, len(slots))
        group[mine] = _groups(snapshot, outfit, mine, int(group.max(initial=-1)) + 1)
        partners += [tuple(len(slots) + names.index(p) for p in outfit.partners(n)) for n in names]
        slots += names
    means = [mean_vector(snapshot.vectors[slot == number]) for number in range(len(slots))]
    order = _by_cell(snapshot, slot, group)
    pairs = np.stack([group[order], slot[order]], axis=1)
    is_first = np.ones(len(order), bool)
    is_first[1:] = (pairs[1:] != pairs[:-1]).any(1)
    starts = np.append(np.flatnonzero(is_first), len(order))
    n_open = np.diff(np.append(0, np.cumsum(snapshot.allowed[0][order]))[starts])
    cells = tuple((int(g), int(s)) for g, s in pairs[is_first])
    dimensions = snapshot.vectors.shape[1]
    mean_rows = np.array(means, np.float32).reshape(len(slots), dimensions)
    return Wardrobe(tuple(slots), tuple(partners), mean_rows, cells, starts, n_open), order


def _by_cell(snapshot: Snapshot, slot: Numbers, group: Numbers) -> Rows:
    """Return the placed items by cell; in a cell those that may be listed, by popularity."""
    placed = np.flatnonzero((slot >= 0) & (group >= 0))
    hidden, popularity = ~snapshot.allowed[0][placed], snapshot.popularity[0][placed]
    keys = (snapshot.rank[placed], -popularity, hidden, slot[placed], group[placed])
    by_cell: Rows = placed[np.lexsort(keys)]
    return by_cell


def _outfits(snapshot: Snapshot, book: SchemaBook) -> tuple[list[Outfit], Numbers]:
    """Return the outfits, and the number of the one that each item belongs to, -1: none."""
    categories = snapshot.items["category"].combine_chunks().dictionary_encode().dictionary
    outfits: list[Outfit] = []
    numbers = []
    for category in (*categories.to_pylist(), None):
        outfit = book.schema_for(category).outfit
        if outfit and outfit not in outfits:
            outfits.append(outfit)
        numbers.append(outfits.index(outfit) if outfit else -1)
    return outfits, np.array(numbers, np.int64)[snapshot.codes("category")]


def _codes(snapshot: Snapshot, name: str, rows: Rows) -> Numbers:
    """Return the number of the word that each item has in an attribute, -1: none."""
    words = snapshot.words
    if name not in words.names:
        return np.full(len(rows), -1)
    codes: Numbers = words.codes[words.names.index(name), rows].astype(np.int64)
    return codes


def _slots(snapshot: Snapshot, outfit: Outfit, rows: Rows, first: int) -> Numbers:
    """Number the slots from `first` on."""
    place = {v: first + n for n, (_, values) in enumerate(outfit.slots) for v in values}
    by_word = [place.get(word, -1) for word in snapshot.words.values.to_pylist()]
    return np.array([*by_word, -1], np.int64)[_codes(snapshot, outfit.slot_of, rows)]


def _groups(snapshot: Snapshot, outfit: Outfit, rows: Rows, first: int) -> Numbers:
    """Number the combinations of kept words from `first` on."""
    words = snapshot.words
    silent = np.append(words.silent, True)
    group, known = np.zeros(len(rows), np.int64), np.ones(len(rows), bool)
    for name in outfit.keep:
        codes = _codes(snapshot, name, rows)
        known &= ~silent[codes]
        group = np.unique(group * (len(words.values) + 1) + codes, return_inverse=True)[1].reshape(
            -1
        )
    return np.where(known, group + first, -1)

"""How much of a score comes from which item of the history, and from which word of the item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.tables_lists import HISTORY_SHARES, WORD_SHARES
from vlm4rec_spark.topk.effects import numbered
from vlm4rec_spark.topk.engines import kernels

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.interface import Rows, Vectors
    from vlm4rec_spark.topk.snapshot import Snapshot

PART_DIGITS, SHARE_DIGITS = 6, 3


def word_parts(
    snapshot: Snapshot, queries: Vectors, line: npt.NDArray[np.int64], rows: Rows
) -> npt.NDArray[np.float64]:
    """Return (attributes, places) what each word of a listed item adds to its score.

    Args:
        snapshot: the catalogue with the effects of its words.
        queries: (m, d) unit rows.
        line: (places,) the query each place is scored by.
        rows: (places,) listed items; 0 where an item has no such word, or its effect is not known.
    """
    numbers = numbered(snapshot.words, snapshot.word_numbers, rows)
    if snapshot.effects is None or not len(snapshot.effects):
        return np.zeros(numbers.shape)
    # Pair by pair in a fixed order: the last digits must not depend on who is in the block.
    each = np.broadcast_to(np.arange(len(snapshot.effects)), (len(queries), len(snapshot.effects)))
    added = np.empty(each.shape)
    kernels.dots(snapshot.effects, queries, np.ascontiguousarray(each), added)
    return np.where(numbers >= 0, added[line, numbers].round(PART_DIGITS), 0.0)


def word_shares(
    snapshot: Snapshot,
    parts: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    rows: Rows,
    most: int,
) -> pa.ListArray:
    """Return for each place the words that add most, each with its part of the score.

    Args:
        snapshot: the catalogue.
        parts: (attributes, places) see `word_parts`.
        scores: (places,) cosines; nothing is said about a place that has none above 0.
        rows: (places,) listed items.
        most: words of a place at most.
    """
    order = np.argsort(-parts, axis=0, kind="stable")[:most]
    shares = np.take_along_axis(parts, order, 0) / np.where(scores > 0, scores, np.inf)
    shares = shares.round(SHARE_DIGITS)
    place, nth = np.nonzero((shares > 0).T)
    attribute = order[nth, place]
    words = snapshot.words
    values = words.values.take(pa.array(words.codes[attribute, rows[place]]))
    names = pa.array(words.names, pa.string()).take(pa.array(attribute))
    structs = pa.StructArray.from_arrays(
        [names, values, pa.array(shares[nth, place])], fields=list(WORD_SHARES.value_type)
    )
    return pa.ListArray.from_arrays(_offsets(shares > 0), structs)


def history_shares(
    snapshot: Snapshot, because: Rows, shares: npt.NDArray[np.float64], most: int
) -> pa.ListArray:
    """Return for each place the items of the history that add most, each with its part.

    Args:
        snapshot: the catalogue.
        because: (places, m) rows of the history, -1 for none.
        shares: (places, m) their parts of what the whole history adds.
        most: items of a place at most.
    """
    shares = shares[:, :most].round(SHARE_DIGITS)
    is_told = (because[:, :most] >= 0) & (shares > 0)
    structs = pa.StructArray.from_arrays(
        [snapshot.ids.take(pa.array(because[:, :most][is_told])), pa.array(shares[is_told])],
        fields=list(HISTORY_SHARES.value_type),
    )
    return pa.ListArray.from_arrays(_offsets(is_told.T), structs)


def _offsets(is_told: npt.NDArray[np.bool_]) -> pa.Array:
    """Return the offsets of lists from (most, places)."""
    return pa.array(np.concatenate([[0], np.cumsum(is_told.sum(0))]).astype(np.int32))

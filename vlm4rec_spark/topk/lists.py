"""Lists for a block of users: profile, search, mask, score exactly, explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.errors import InvariantError
from vlm4rec_spark.profiles.vectors import Histories, mean_profiles
from vlm4rec_spark.topk.engines import kernels
from vlm4rec_spark.topk.engines.choice import open_engine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.ranking import Ranked, ranked
from vlm4rec_spark.topk.reasons import POPULAR_REASON, SHOWN, profile_reasons

if TYPE_CHECKING:
    from vlm4rec_spark.topk.engines.choice import EngineSpec
    from vlm4rec_spark.topk.engines.interface import Rows
    from vlm4rec_spark.topk.snapshot import Snapshot


@dataclass(frozen=True)
class Places:
    """Places of lists in a row, user by user and best first."""

    users: npt.NDArray[np.int64]
    """Number of the user in the block."""
    rows: Rows
    scores: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int32]


def block_lists(snapshot: Snapshot, block: Histories, k: int, engine: EngineSpec) -> pa.Table:
    """Return the list of every user: min(k, eligible) items, none seen, unavailable or repeated.

    Columns: those of `recommendations` but run_id.

    Raises:
        InvariantError: a list breaks this promise; never expected, checked on every run.
    """
    masks = seen_masks(snapshot, block)
    queries, known = mean_profiles(snapshot.vectors, block)
    of_known = masks.of(known)
    found = ranked(snapshot, open_engine(engine, snapshot), queries, k, of_known)
    check(found.rows, k, of_known)
    rest = np.setdiff1d(np.arange(len(block.users)), known)
    by_popularity = popular(snapshot, k, masks.of(rest))
    check(by_popularity.rows, k, masks.of(rest))
    return pa.concat_tables(
        [
            _profile_table(snapshot, block, known, found),
            _popular_table(snapshot, block, rest, by_popularity),
        ]
    )


def seen_masks(snapshot: Snapshot, block: Histories) -> Masks:
    """Return what each user of a block may not be given: what they have seen."""
    owner = block.owner[block.seen]
    starts = np.searchsorted(owner, np.arange(len(block.users) + 1)).astype(np.int64)
    group = np.zeros(len(block.users), np.int64)
    return Masks(block.rows[block.seen], starts, snapshot.allowed, group)


def popular(snapshot: Snapshot, k: int, masks: Masks) -> Ranked:
    """Return the k most popular rows that each query may be given; scores are popularity."""
    order = np.lexsort((snapshot.rank, -snapshot.popularity))
    rows = np.full((len(masks.group), min(k, max(1, len(order)))), -1, np.int64)
    for query in range(len(rows)):
        hidden = masks.hidden[masks.starts[query] : masks.starts[query + 1]]
        may = masks.allowed[masks.group[query]].copy()
        may[hidden] = False
        best = order[may[order]][: rows.shape[1]]
        rows[query, : len(best)] = best
    scores = np.full(rows.shape, -np.inf)
    scores[rows >= 0] = snapshot.popularity[rows[rows >= 0]]
    return Ranked(rows, scores)


def check(rows: Rows, k: int, masks: Masks) -> None:
    """Check the promise of a list on every list that is made.

    Raises:
        InvariantError: it is broken.
    """
    filled = rows >= 0
    if (filled.sum(1) != np.minimum(masks.eligible(), k)).any():
        raise InvariantError("A list is shorter than k although more items are eligible.")
    line, _ = np.nonzero(filled)
    listed = rows[filled]
    n = masks.allowed.shape[1]
    keys = line * n + listed
    if len(np.unique(keys)) < len(keys):
        raise InvariantError("A list holds an item twice.")
    hidden = masks.hidden + np.repeat(np.arange(len(rows)), np.diff(masks.starts)) * n
    if not masks.allowed[masks.group[line], listed].all() or np.isin(keys, hidden).any():
        raise InvariantError("A list holds an item that was seen or may not be listed.")


def places(listed: Ranked, users: npt.NDArray[np.int64]) -> Places:
    """Return the filled places one behind the other."""
    line, place = np.nonzero(listed.rows >= 0)
    return Places(
        users[line],
        listed.rows[line, place],
        listed.scores[line, place],
        (place + 1).astype(np.int32),
    )


def _profile_table(
    snapshot: Snapshot, block: Histories, users: npt.NDArray[np.int64], listed: Ranked
) -> pa.Table:
    because = np.full(listed.rows.shape, -1, np.int64)
    share = np.zeros(listed.rows.shape)
    starts, weights, rows = part_of(block, users)
    kernels.strongest(snapshot.vectors, starts, rows, weights, listed.rows, because, share)
    flat = places(listed, users)
    filled = listed.rows >= 0
    source = because[filled]
    shared = snapshot.words.shared(source, flat.rows)
    named = snapshot.words.shared(source, flat.rows, SHOWN)
    reasons = {
        "because_item_id": snapshot.ids.take(_or_null(source)),
        "because_share": pa.array(np.round(share[filled], 3)),
        "shared_attributes": shared,
        "reason": profile_reasons(snapshot.titles.take(_or_null(source)), named),
    }
    return _table(snapshot, block, flat, "profile", reasons)


def _popular_table(
    snapshot: Snapshot, block: Histories, users: npt.NDArray[np.int64], listed: Ranked
) -> pa.Table:
    flat = places(listed, users)
    n = len(flat.rows)
    reasons = {
        "because_item_id": pa.nulls(n, pa.string()),
        "because_share": pa.nulls(n, pa.float64()),
        "shared_attributes": pa.array([[]] * n, pa.list_(pa.string())),
        "reason": pa.array([POPULAR_REASON] * n, pa.string()),
    }
    return _table(snapshot, block, flat, "popular", reasons)


def _table(
    snapshot: Snapshot, block: Histories, flat: Places, arm: str, reasons: dict[str, pa.Array]
) -> pa.Table:
    names = pa.array(block.users, pa.string())
    columns = {
        "user_id": names.take(pa.array(flat.users)),
        "rank": pa.array(flat.ranks),
        "item_id": snapshot.ids.take(pa.array(flat.rows)),
        "score": pa.array(flat.scores),
        **reasons,
        "arm": pa.array([arm] * len(flat.rows), pa.string()),
    }
    return pa.table(columns)


def _or_null(rows: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(rows, mask=rows < 0)


def part_of(
    block: Histories, users: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return starts, relative weights and rows of the histories of some users, in their order."""
    sizes = np.diff(block.starts)[users]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    at = (
        np.repeat(block.starts[users], sizes)
        + np.arange(starts[-1])
        - np.repeat(starts[:-1], sizes)
    )
    return starts, block.relative()[at], block.rows[at]

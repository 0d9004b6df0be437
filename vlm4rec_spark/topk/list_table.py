"""The rows of chosen lists, with the reasons for each place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.tables_lists import HISTORY_SHARES, WORD_SHARES
from vlm4rec_spark.topk.engines import kernels
from vlm4rec_spark.topk.reasons import POPULAR_REASON, SHOWN, profile_reasons, wish_reasons
from vlm4rec_spark.topk.shares import SHARE_DIGITS, history_shares, word_parts, word_shares

if TYPE_CHECKING:
    from vlm4rec_spark.profiles.vectors import Histories, Profiles
    from vlm4rec_spark.topk.engines.interface import Rows, Vectors
    from vlm4rec_spark.topk.lists import ListSpec
    from vlm4rec_spark.topk.ranking import Ranked
    from vlm4rec_spark.topk.snapshot import Snapshot

FLOOR = "floor"


@dataclass(frozen=True)
class Places:
    """Places of lists in a row, user by user and best first."""

    users: npt.NDArray[np.int64]
    """Number of the user in the block."""
    rows: Rows
    scores: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int32]


def places(listed: Ranked, users: npt.NDArray[np.int64]) -> Places:
    """Return the filled places one behind the other."""
    line, place = np.nonzero(listed.rows >= 0)
    return Places(
        users[line],
        listed.rows[line, place],
        listed.scores[line, place],
        (place + 1).astype(np.int32),
    )


def profile_table(
    snapshot: Snapshot,
    block: Histories,
    profiles: Profiles,
    listed: Ranked,
    spec: ListSpec,
) -> pa.Table:
    """Return the rows of lists, best first, with their reasons; columns: see `block_lists`.

    Args:
        snapshot: the catalogue.
        block: histories.
        profiles: theirs.
        listed: a line for each user with a profile.
        spec: how lists are made.
    """
    users, told = profiles.known, spec.told
    interest = np.zeros(listed.rows.shape, np.int64)
    interest = interest if listed.interest is None else listed.interest
    because, share = _strongest(snapshot, block, profiles, replace(listed, interest=interest), spec)
    flat = places(listed, users)
    filled = listed.rows >= 0
    sources, shares = because[filled], share[filled]
    source = sources[:, 0]
    shared = snapshot.words.shared(source, flat.rows)
    line = (profiles.starts[:-1, None] + interest)[filled]
    parts = word_parts(snapshot, profiles.vectors, line, flat.rows)
    named = snapshot.words.shared(source, flat.rows, SHOWN, parts)
    reasons = {
        "because_item_id": snapshot.ids.take(_or_null(source)),
        "because_share": pa.array(np.round(shares[:, 0], SHARE_DIGITS)),
        "history_shares": history_shares(snapshot, sources, shares, told[0]),
        "attribute_shares": word_shares(snapshot, parts, flat.scores, flat.rows, told[1]),
        "shared_attributes": shared,
        "reason": profile_reasons(snapshot.titles.take(_or_null(source)), named),
    }
    floor = np.full(len(filled), -np.inf) if listed.floor is None else listed.floor
    floors = pa.array(np.repeat(floor, filled.sum(1)))
    return _table(snapshot, block, flat, "profile", reasons, floors)


def _strongest(
    snapshot: Snapshot, block: Histories, profiles: Profiles, listed: Ranked, spec: ListSpec
) -> tuple[Rows, npt.NDArray[np.float64]]:
    """Return the items of the history that add most to each place, (users, k, m), and their parts.

    Arguments as of `profile_table`; every place names its interest.
    """
    because = np.full((*listed.rows.shape, max(1, spec.told[0])), -1, np.int64)
    share = np.zeros(because.shape)
    starts, at = part_of(block, profiles.known)
    labels, pulls = profiles.labels[at], listed.interest
    likes, lines = snapshot.vectors, block.rows[at]
    if spec.fusion.is_late:  # liked items have vectors of their own, see `dislikes`
        first = np.repeat(profiles.starts[:-1], np.diff(starts))
        likes, lines = profiles.vectors, first + np.maximum(labels, 0)
    if spec.fusion.kind == "softmax":  # all liked items pull, not the nearest alone
        labels, pulls = np.minimum(labels, 0), np.zeros(listed.rows.shape, np.int64)
    kernels.strongest(
        snapshot.vectors, likes, starts, block.rows[at], lines, block.relative()[at], labels,
        listed.rows, pulls, spec.fusion.sharpness, because, share,
    )  # fmt: skip
    return because, share


def popular_table(
    snapshot: Snapshot, block: Histories, users: npt.NDArray[np.int64], listed: Ranked
) -> pa.Table:
    """Return the rows of lists of popular items; columns: see `block_lists`.

    Args:
        snapshot: the catalogue.
        block: histories.
        users: whose lists these are, numbers in the block.
        listed: a line for each of them.
    """
    flat = places(listed, users)
    n = len(flat.rows)
    reasons = _without_history(n) | {"reason": pa.array([POPULAR_REASON] * n, pa.string())}
    return _table(snapshot, block, flat, "popular", reasons)


def wish_table(
    snapshot: Snapshot,
    block: Histories,
    asking: tuple[npt.NDArray[np.int64], Vectors],
    listed: Ranked,
    told: int,
) -> pa.Table:
    """Return the rows of lists of users who said what they look for; columns: see `block_lists`.

    Args:
        snapshot: the catalogue.
        block: histories.
        asking: whose lists these are, numbers in the block, and what each looks for.
        listed: a line for each of them.
        told: words of a place that are told with their share, at most.
    """
    flat = places(listed, asking[0])
    line, _ = np.nonzero(listed.rows >= 0)
    parts = word_parts(snapshot, asking[1], line, flat.rows)
    adding = np.where(parts > 0, parts, -1.0)
    named = snapshot.words.shared(flat.rows, flat.rows, SHOWN, adding)
    n = len(flat.rows)
    reasons = _without_history(n) | {
        "attribute_shares": word_shares(snapshot, parts, flat.scores, flat.rows, told),
        "reason": wish_reasons(named),
    }
    return _table(snapshot, block, flat, "profile", reasons)


def _without_history(n: int) -> dict[str, pa.Array]:
    """Return the columns that no history can fill."""
    return {
        "because_item_id": pa.nulls(n, pa.string()),
        "because_share": pa.nulls(n, pa.float64()),
        "history_shares": pa.array([[]] * n, HISTORY_SHARES),
        "attribute_shares": pa.array([[]] * n, WORD_SHARES),
        "shared_attributes": pa.array([[]] * n, pa.list_(pa.string())),
    }


def _table(
    snapshot: Snapshot,
    block: Histories,
    flat: Places,
    arm: str,
    reasons: dict[str, pa.Array],
    floors: pa.Array | None = None,
) -> pa.Table:
    names = pa.array(block.users, pa.string())
    columns = {
        "user_id": names.take(pa.array(flat.users)),
        "rank": pa.array(flat.ranks),
        "item_id": snapshot.ids.take(pa.array(flat.rows)),
        "score": pa.array(flat.scores),
        **reasons,
        "arm": pa.array([arm] * len(flat.rows), pa.string()),
        FLOOR: pa.nulls(len(flat.rows), pa.float64()) if floors is None else floors,
    }
    return pa.table(columns)


def _or_null(rows: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(rows, mask=rows < 0)


def part_of(
    block: Histories, users: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the starts of the histories of some users in their order, and where each row is."""
    sizes = np.diff(block.starts)[users]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    at = (
        np.repeat(block.starts[users], sizes)
        + np.arange(starts[-1])
        - np.repeat(starts[:-1], sizes)
    )
    return starts, at.astype(np.int64)

"""Lists for a block of users: profile, search, mask, score exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.errors import InvariantError
from vlm4rec_spark.profiles.vectors import MEAN, Fusion, Histories, Profiles, query_profiles
from vlm4rec_spark.topk.candidates import (
    Candidates,
    InterestCandidates,
    PopularCandidates,
    ProfileCandidates,
)
from vlm4rec_spark.topk.engines.choice import open_engine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.late_fusion import FusedCandidates
from vlm4rec_spark.topk.list_table import popular_table, profile_table, wish_table
from vlm4rec_spark.topk.ranking import Ranked, ranked
from vlm4rec_spark.topk.rerank import DEEPER, PLAIN, Rerank
from vlm4rec_spark.topk.texts import wishes

if TYPE_CHECKING:
    from vlm4rec_spark.embeddings.encoders import EncoderSpec
    from vlm4rec_spark.topk.engines.choice import EngineSpec
    from vlm4rec_spark.topk.engines.interface import Engine, Rows
    from vlm4rec_spark.topk.snapshot import Snapshot


@dataclass(frozen=True)
class ListSpec:
    """How lists are made; small and frozen, it travels to the workers."""

    engine: EngineSpec
    k: int
    """Length of a list."""
    rerank: Rerank = PLAIN
    segments: tuple[str, ...] = ()
    """Segments of users with a line of their own in the popularity, from line 1."""
    has_user_rules: bool = False
    """Whether segments also have a line in `Snapshot.allowed`."""
    interests: int = 1
    """Interests of a user at most."""
    fusion: Fusion = MEAN
    """How the items of a history come together."""
    told: tuple[int, int] = (3, 4)
    """Items of the history and words of the item that are named with their shares, at most."""
    encoder: EncoderSpec | None = None
    """Of the items, for users without a history who said what they look for; None: nobody did."""

    @property
    def depth(self) -> int:
        """Candidates of each user that are looked at first."""
        return DEEPER * self.k if self.rerank.is_needed else self.k

    @property
    def is_plain(self) -> bool:
        """Whether a list is the best k items by one cosine: no item's place depends on others."""
        return self.interests == 1 and not self.fusion.is_late and not self.rerank.is_needed


def block_lists(
    snapshot: Snapshot, block: Histories, spec: ListSpec, engine: Engine | None = None
) -> pa.Table:
    """Return the list of every user: min(k, eligible) items, none seen, unavailable or repeated.

    Columns: those of `recommendations` but run_id, and floor: see `Ranked`; null without a history.

    Args:
        snapshot: the catalogue.
        block: histories.
        spec: how lists are made.
        engine: what is searched with; None: that of the spec.

    Raises:
        InvariantError: a list breaks this promise; never expected, checked on every run.
    """
    engine = open_engine(spec.engine, snapshot) if engine is None else engine
    profiles = query_profiles(snapshot.vectors, block, spec.interests, spec.fusion)
    masks = list_masks(snapshot, block, spec)
    near = near_profiles(snapshot, engine, profiles, spec.fusion)
    found = best_lists(snapshot, near, spec, masks.of(profiles.known))
    rest = np.setdiff1d(np.arange(len(block.users)), profiles.known)
    asking, wanted = wishes(snapshot, block, rest, spec.encoder)
    near = ProfileCandidates(snapshot, engine, wanted)
    fitting = best_lists(snapshot, near, spec, masks.of(asking))
    rest = np.setdiff1d(rest, asking)
    popular = PopularCandidates(snapshot, segment_lines(block, spec)[rest])
    listed = best_lists(snapshot, popular, spec, masks.of(rest))
    return pa.concat_tables(
        [
            profile_table(snapshot, block, profiles, found, spec),
            wish_table(snapshot, block, (asking, wanted), fitting, spec.told[1]),
            popular_table(snapshot, block, rest, listed),
        ]
    )


def first_candidates(
    snapshot: Snapshot, block: Histories, spec: ListSpec, engine: Engine
) -> Ranked:
    """Return the candidates that `block_lists` chooses from, before it looks for deeper ones."""
    profiles = query_profiles(snapshot.vectors, block, spec.interests, spec.fusion)
    masks = list_masks(snapshot, block, spec).of(profiles.known)
    near = near_profiles(snapshot, engine, profiles, spec.fusion)
    return pooled(snapshot, near, spec, np.arange(len(masks.group)), masks)


def near_profiles(
    snapshot: Snapshot, engine: Engine, profiles: Profiles, fusion: Fusion = MEAN
) -> Candidates:
    """Return where the candidates of users with a profile come from."""
    if fusion.is_late:
        return FusedCandidates(snapshot, engine, profiles, fusion)
    if len(profiles.known) == len(profiles.owner):
        return ProfileCandidates(snapshot, engine, profiles.vectors)
    return InterestCandidates(snapshot, engine, profiles)


def segment_lines(block: Histories, spec: ListSpec) -> npt.NDArray[np.int64]:
    """Return the line of each user's segment, 0: none of its own."""
    segments = {name: line for line, name in enumerate(spec.segments, start=1)}
    return np.array([segments.get(name or "", 0) for name in block.segments], np.int64)


def list_masks(snapshot: Snapshot, block: Histories, spec: ListSpec) -> Masks:
    """Return what each user of a block may not be given: what they have seen, and by rules."""
    return seen_masks(snapshot, block, segment_lines(block, spec) if spec.has_user_rules else None)


def seen_masks(
    snapshot: Snapshot, block: Histories, group: npt.NDArray[np.int64] | None = None
) -> Masks:
    """Return what each user of a block may not be given, by line `group` of what is allowed."""
    owner = block.owner[block.seen]
    starts = np.searchsorted(owner, np.arange(len(block.users) + 1)).astype(np.int64)
    group = np.zeros(len(block.users), np.int64) if group is None else group
    return Masks(block.rows[block.seen], starts, snapshot.allowed, group)


def best_lists(snapshot: Snapshot, candidates: Candidates, spec: ListSpec, masks: Masks) -> Ranked:
    """Return the lists of some users from their candidates, re-ranked where the settings ask."""
    everything = np.arange(len(masks.group))
    if not spec.rerank.is_needed:
        found = candidates.best(everything, spec.k, masks)
        check(found.rows, spec.k, masks, masks.eligible())
        return found
    eligible, depth = masks.eligible(), spec.depth
    rows = np.full((len(everything), spec.k), -1, np.int64)
    floor = np.full(len(everything), -np.inf)
    open_ = everything
    while len(open_):
        part = masks.of(open_)
        pool = pooled(snapshot, candidates, spec, open_, part, depth)
        floor[open_] = -np.inf if pool.floor is None else pool.floor
        rows[open_] = spec.rerank.arranged(snapshot, pool, spec.k, part)
        short = (rows[open_] >= 0).sum(1) < np.minimum(eligible[open_], spec.k)
        # Caps may use up all candidates; deeper ones may still fit.
        open_ = open_[short & (depth < eligible[open_])]
        depth *= DEEPER
    check(rows, spec.k, masks, (rows >= 0).sum(1) if spec.rerank.may_shorten else eligible)
    return replace(candidates.scored(rows), floor=floor)


def pooled(
    snapshot: Snapshot,
    candidates: Candidates,
    spec: ListSpec,
    users: npt.NDArray[np.int64],
    masks: Masks,
    depth: int | None = None,
) -> Ranked:
    """Return candidates of some users, whose masks these are: the best, then promoted ones."""
    best = pool = candidates.best(users, depth or spec.depth, masks)
    for promotion in snapshot.promoted:
        only = replace(masks, allowed=masks.allowed & promotion)
        pool = joined(pool, candidates.best(users, spec.k, only))
    return replace(pool, floor=best.floor)


def allowed_lines(snapshot: Snapshot) -> npt.NDArray[np.bool_]:
    """Return (lines, n) all that `Masks.allowed` can say where lists are made, see `pooled`."""
    promoted = [snapshot.allowed & promotion for promotion in snapshot.promoted]
    return np.concatenate([snapshot.allowed, *promoted])


def joined(left: Ranked, right: Ranked) -> Ranked:
    """Return the candidates of both, none twice, those of the left first."""
    twice = (right.rows[:, :, None] == left.rows[:, None, :]).any(2)
    rows = np.concatenate([left.rows, np.where(twice, -1, right.rows)], axis=1)
    scores = np.concatenate([left.scores, np.where(twice, -np.inf, right.scores)], axis=1)
    return Ranked(rows, scores)


def nearest_items(
    snapshot: Snapshot, targets: npt.NDArray[np.int64], k: int, engine: Engine
) -> tuple[Ranked, Masks]:
    """Return the nearest items of some rows, and what each may not be given: itself, by rules."""
    itself = hides_itself(snapshot, targets)
    queries = np.ascontiguousarray(snapshot.vectors[targets])
    return ranked(snapshot, engine, queries, k, itself), itself


def hides_itself(snapshot: Snapshot, targets: Rows) -> Masks:
    """Return what the list of each of some items may not hold: itself, and by rules."""
    nobody = np.zeros(len(targets), np.int64)
    return Masks(targets, np.arange(len(targets) + 1), snapshot.allowed, nobody)


def checked_neighbours(
    snapshot: Snapshot, targets: npt.NDArray[np.int64], k: int, engine: Engine
) -> Ranked:
    """Return the nearest items of some rows, whose promise is checked as that of lists.

    Raises:
        InvariantError: see `check`.
    """
    found, itself = nearest_items(snapshot, targets, k, engine)
    check(found.rows, k, itself, itself.eligible())
    return found


def check(rows: Rows, k: int, masks: Masks, eligible: npt.NDArray[np.int64]) -> None:
    """Check the promise of a list on every list that is made.

    Raises:
        InvariantError: it is broken.
    """
    if ((rows >= 0).sum(1) != np.minimum(eligible, k)).any():
        raise InvariantError("A list is shorter than k although more items are eligible.")
    check_places(rows, masks)


def check_places(rows: Rows, masks: Masks) -> None:
    """Check of some places, (lists, m), that none holds what the list may not, or has already.

    Raises:
        InvariantError: one does.
    """
    in_order = np.sort(rows, axis=1)
    if ((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)).any():
        raise InvariantError("A list holds an item twice.")
    line, place = np.nonzero(rows >= 0)
    if not masks.allow(line, rows[line, place]).all():
        raise InvariantError("A list holds an item that was seen or may not be listed.")

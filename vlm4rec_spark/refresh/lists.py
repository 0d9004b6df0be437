"""Lists of a block of users where some of them changed: made anew, or given what is new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.profiles.vectors import query_profiles
from vlm4rec_spark.refresh.changes import padded, reaching
from vlm4rec_spark.topk.candidates import ProfileCandidates
from vlm4rec_spark.topk.engines.choice import open_engine
from vlm4rec_spark.topk.list_table import profile_table
from vlm4rec_spark.topk.lists import (
    block_lists,
    check_places,
    checked_neighbours,
    hides_itself,
    list_masks,
)
from vlm4rec_spark.topk.ranking import Ranked, in_order

if TYPE_CHECKING:
    from vlm4rec_spark.profiles.vectors import Histories, Profiles
    from vlm4rec_spark.topk.engines.interface import Engine, Rows, Vectors
    from vlm4rec_spark.topk.lists import ListSpec
    from vlm4rec_spark.topk.snapshot import Snapshot

WHOLE = "is_whole"
"""Column of rows: true for those of a whole list, false for what enters a list that stays."""


@dataclass(frozen=True)
class Moved:
    """Items that can enter or leave lists."""

    arrived: Rows
    """Rows of the matrix."""
    departed: Vectors
    """(m, d) vectors that the others had."""


@dataclass(frozen=True)
class Marks:
    """What is known of each user of a block, in the order of user ids."""

    is_whole: npt.NDArray[np.bool_]
    """Whether the list must be made anew."""
    floors: npt.NDArray[np.float64]
    """Score of the last place of the list in force; minus infinity: it has room."""

    @staticmethod
    def of(table: pa.Table) -> Marks:
        """Read columns user_id, is_whole and floor, equal on all rows of a user."""
        users = table.group_by("user_id").aggregate([("is_whole", "max"), ("floor", "max")])
        users = users.sort_by("user_id")
        floors = users["floor_max"].fill_null(-np.inf).to_numpy()
        whole = users["is_whole_max"].combine_chunks().to_numpy(zero_copy_only=False)
        return Marks(whole.astype(bool), floors)


def refreshed_lists(
    snapshot: Snapshot,
    block: Histories,
    marks: Marks,
    moved: Moved,
    spec: ListSpec,
    engine: Engine | None = None,
) -> pa.Table:
    """Return whole lists of the users whose list must be made anew, and what enters other lists.

    A list is made anew where the user changed or has no profile (popularity changes with every
    event), and where an item that can leave comes up to the list's last place. An item that comes
    up to that place enters; where lists are not plain it is made anew, too.

    Columns: those of `recommendations` but run_id, and is_whole. The rank of what enters is not
    yet known. Arguments as of `block_lists`, and what is known of its users and of items.
    """
    engine = open_engine(spec.engine, snapshot) if engine is None else engine
    profiles = query_profiles(snapshot.vectors, block, spec.interests, spec.fusion)
    whole = marks.is_whole.copy()
    whole[np.setdiff1d(np.arange(len(whole)), profiles.known)] = True
    lines = np.flatnonzero(~whole[profiles.owner])
    queries, owners = profiles.vectors[lines], profiles.owner[lines]
    leaving = reaching(queries, moved.departed, marks.floors[owners])[0]
    whole[owners[leaving]] = True
    entering = reaching(queries, snapshot.vectors[moved.arrived], marks.floors[owners])
    users, rows = owners[entering[0]], moved.arrived[entering[1]]
    masks = list_masks(snapshot, block, spec)
    if spec.is_plain:
        may = masks.allow(users, rows) & ~whole[users]
        users, rows = users[may], rows[may]
        is_full = np.isfinite(marks.floors[users])
        whole[users[~is_full]] = True  # a list that grows
        users, rows = users[is_full], rows[is_full]
    else:
        whole[users] = True
        users, rows = users[:0], rows[:0]
    anew = block.some(np.flatnonzero(whole))
    made = with_empty(block_lists(snapshot, anew, spec, engine), pa.array(anew.users, pa.string()))
    who, listed = padded(users, rows)
    check_places(listed, masks.of(who))
    added = _entering(snapshot, engine, block.some(who), listed, spec)
    return pa.concat_tables([flagged(made, is_whole=True), flagged(added, is_whole=False)])


def with_empty(made: pa.Table, owners: pa.Array) -> pa.Table:
    """Add a row of rank 0 for each owner without a row: the list is empty now."""
    owner = made.column_names[0]
    there = pa.compute.is_in(owners, value_set=made[owner].combine_chunks())
    without = owners.filter(pa.compute.invert(there))
    columns = [
        without
        if field.name == owner
        else pa.array([0] * len(without), field.type)
        if field.name == "rank"
        else pa.nulls(len(without), field.type)
        for field in made.schema
    ]
    return pa.concat_tables([made, pa.table(columns, schema=made.schema)])


def flagged(made: pa.Table, *, is_whole: bool) -> pa.Table:
    """Say of rows whether they make up whole lists."""
    return made.append_column(WHOLE, pa.array([is_whole] * len(made), pa.bool_()))


def _entering(
    snapshot: Snapshot, engine: Engine, some: Histories, listed: Rows, spec: ListSpec
) -> pa.Table:
    """Return what enters the lists of some users, a line of rows each, with scores and reasons."""
    profiles: Profiles = query_profiles(snapshot.vectors, some, spec.interests, spec.fusion)
    scored = ProfileCandidates(snapshot, engine, profiles.vectors).scored(listed)
    return profile_table(snapshot, some, profiles, in_order(snapshot, scored), spec)


def refreshed_neighbours(
    snapshot: Snapshot,
    targets: Rows,
    marks: Marks,
    moved: Moved,
    search: tuple[Engine, int],
) -> tuple[Ranked, Rows, Ranked, Rows]:
    """Return whole lists of neighbours with their targets, and what enters others, with theirs.

    Args:
        snapshot: the catalogue.
        targets: (m,) rows.
        marks: of the targets.
        moved: what can enter or leave.
        search: engine, and length of a list.
    """
    whole = marks.is_whole.copy()
    others = np.flatnonzero(~whole)
    queries = np.ascontiguousarray(snapshot.vectors[targets])
    leaving = reaching(queries[others], moved.departed, marks.floors[others])[0]
    whole[others[leaving]] = True
    others = np.flatnonzero(~whole)
    line, item = reaching(queries[others], snapshot.vectors[moved.arrived], marks.floors[others])
    users, rows = others[line], moved.arrived[item]
    may = (targets[users] != rows) & snapshot.allowed[0, rows]
    users, rows = users[may], rows[may]
    is_full = np.isfinite(marks.floors[users])
    whole[users[~is_full]] = True
    who, listed = padded(users[is_full], rows[is_full])
    check_places(listed, hides_itself(snapshot, targets[who]))
    engine, k = search
    anew = targets[whole]
    found = checked_neighbours(snapshot, anew, k, engine)
    scored = ProfileCandidates(snapshot, engine, np.ascontiguousarray(queries[who])).scored(listed)
    return found, anew, in_order(snapshot, scored), targets[who]

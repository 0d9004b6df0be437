"""From the lists of a block of users to their metrics: every arm over exactly the same users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlm4rec_spark.evaluation import beyond
from vlm4rec_spark.evaluation.accuracy import Flags, Floats, Ints, Lists, Truth, accuracy, matches
from vlm4rec_spark.evaluation.catalogue import POOLS, Catalogue, load_catalogue
from vlm4rec_spark.evaluation.slices import (
    AGES,
    EVERYONE,
    HISTORY,
    LONG,
    OLD,
    Labels,
    binned,
    item_slices,
)

ACCURACY = ("NDCG", "MAP", "Recall", "Precision", "HitRate", "MRR")
BEYOND = ("Novelty", "Serendipity", "ARP", "APLT")
UNITS = 2000
"""Drawn in the bootstrap; with more users each unit is a random group of them, as block and place
come from a hash of the user."""
VARIANTS = ("kept", "collapsed")
"""Whether variants of what the user has stay candidates."""
KEYS = ("arm", "pool", "variants", "slice", "segment", "user_id", "unit")


@dataclass(frozen=True)
class MeasureSpec:
    """What a worker needs to measure lists."""

    folder: str
    """Folder of the catalogue."""
    arms: tuple[tuple[str, tuple[str, ...]], ...]
    """Name and spaces of every arm; all are measured for every user, lists or not."""
    k: int
    diversity_spaces: tuple[str, ...] = ()
    """Spaces diversity is measured in; never of an arm that ranks with it."""
    users_a_unit: int = 1
    """Users drawn together in the bootstrap."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all per-user metrics, without '@k'."""
        return (*ACCURACY, *BEYOND, *(f"Diversity in {s}" for s in self.diversity_spaces))

    @property
    def schema(self) -> pa.Schema:
        """Of what `measure` returns: sums over the `n` users of a unit; null: no value."""
        texts = [pa.field(name, pa.string()) for name in KEYS]
        numbers = [pa.field(name, pa.float64()) for name in self.metrics]
        return pa.schema([*texts, pa.field("n", pa.int64()), *numbers])


@dataclass(frozen=True)
class _View:
    """The test of one pool and one treatment of variants."""

    pool: str
    variants: str
    truth: Truth
    rows: Ints
    """Which rows of the block's truth these are."""


def measure(lists: pa.Table, truth: pa.Table, block: int, spec: MeasureSpec) -> pa.Table:
    """Return one row per arm, view and user, and one per arm, view, segment and unit.

    Args:
        lists: arm, pool, variants, user_id, rank, item_id.
        truth: user_id, item_id, age_days, n_history, is_variant; each pair once.
        block: number of the block, a part of the units' names.
        spec: see `MeasureSpec`.

    Raises:
        ValueError: a list has gaps, repeats an item, or names an item that is no candidate.
    """
    catalogue = load_catalogue(spec.folder)
    users = np.unique(np.asarray(truth["user_id"].to_pylist(), dtype=np.str_))
    numbers = {str(user): n for n, user in enumerate(users)}
    everything = Truth(_numbered(truth, users), catalogue.rows_of(truth["item_id"]))
    units = np.array([f"{block % UNITS}-{n // spec.users_a_unit}" for n in range(len(users))])
    labels = _labels(catalogue, truth)
    history = np.zeros(len(users), np.int64)
    history[everything.user] = truth["n_history"].to_numpy()
    parts: list[dict[str, Any]] = []
    for view in _views(catalogue, truth, everything):
        own_lists = lists.filter(
            pc.and_(pc.equal(lists["pool"], view.pool), pc.equal(lists["variants"], view.variants))
        )
        for arm, spaces in spec.arms:
            rows = own_lists.filter(pc.equal(own_lists["arm"], arm))
            placed = _placed(rows, numbers, catalogue, view, spec.k)
            measured = _Measured(catalogue, placed, view, len(users), spec)
            name = {"arm": arm, "pool": view.pool, "variants": view.variants}
            parts.append({**name, **measured.per_user(users, units, spaces)})
            if view.variants == "kept":
                by_history = binned(history, HISTORY, LONG)
                own = {slice_: values[view.rows] for slice_, values in labels.items()}
                parts += [{**name, **p} for p in measured.slices(units, by_history, own)]
    return pa.concat_tables([_table(part, spec) for part in parts])


def _numbered(table: pa.Table, users: npt.NDArray[np.str_]) -> Ints:
    names = np.asarray(table["user_id"].to_pylist(), dtype=np.str_)
    return np.searchsorted(users, names).astype(np.int64)


def _labels(catalogue: Catalogue, truth: pa.Table) -> dict[str, Labels]:
    """Return slice -> label of every row of the truth."""
    rows = catalogue.rows_of(truth["item_id"])
    labels = {name: values[rows] for name, values in _item_slices(catalogue).items()}
    age = truth["age_days"].fill_null(-1).to_numpy()
    labels["age"] = np.where(age < 0, "", binned(np.maximum(age, 0), AGES, OLD))
    return labels


@lru_cache(maxsize=2)
def _item_slices(catalogue: Catalogue) -> dict[str, Labels]:
    """Return the labels of all items, once per process: blocks are many."""
    return item_slices(catalogue)


@lru_cache(maxsize=2)
def _chance_of_anyone(catalogue: Catalogue) -> Floats:
    return beyond.chance_of_anyone(catalogue.users)


@lru_cache(maxsize=2)
def _tail(catalogue: Catalogue) -> Flags:
    return beyond.long_tail(catalogue.users)


def _views(catalogue: Catalogue, truth: pa.Table, everything: Truth) -> Iterator[_View]:
    is_variant = np.asarray(truth["is_variant"].to_pylist(), bool)
    for pool in POOLS:
        in_pool = catalogue.is_cold[everything.item] if pool == "cold" else True
        for variants in VARIANTS:
            kept = in_pool & (~is_variant if variants == "collapsed" else True)
            rows = np.flatnonzero(np.broadcast_to(kept, is_variant.shape)).astype(np.int64)
            yield _View(pool, variants, Truth(everything.user[rows], everything.item[rows]), rows)


def _placed(
    rows: pa.Table, numbers: Mapping[str, int], catalogue: Catalogue, view: _View, k: int
) -> Lists:
    """Return an arm's lists of the users that have a test in the view."""
    user = np.array([numbers.get(u, -1) for u in rows["user_id"].to_pylist()], np.int64)
    item = catalogue.rows_of(rows["item_id"])
    if (item < 0).any() or (view.pool == "cold" and not catalogue.is_cold[item].all()):
        raise ValueError("a list names an item that is no candidate")
    tested = np.isin(user, view.truth.user)
    rank = rows["rank"].to_numpy().astype(np.int64)
    return Lists.ordered(user[tested], rank[tested], item[tested], k)


class _Measured:
    """One arm's lists in one view."""

    def __init__(
        self, catalogue: Catalogue, lists: Lists, view: _View, n_users: int, spec: MeasureSpec
    ) -> None:
        self.catalogue, self.lists, self.view = catalogue, lists, view
        self.n_users, self.spec = n_users, spec
        self.match = matches(lists, view.truth, len(catalogue.items))
        self.hit = self.match >= 0
        self.relevant = np.bincount(view.truth.user, minlength=n_users)

    def per_user(
        self, users: npt.NDArray[np.str_], units: npt.NDArray[np.str_], spaces: tuple[str, ...]
    ) -> dict[str, Any]:
        """Return the metrics of every user with a test in the view."""
        tested = self.relevant > 0
        values = accuracy(self.lists, self.hit, self.relevant, self.spec.k) | self._beyond(spaces)
        return {
            "slice": EVERYONE[0],
            "segment": EVERYONE[1],
            "user_id": users[tested],
            "unit": units[tested],
            "n": np.ones(int(tested.sum()), np.int64),
            **{name: numbers[tested] for name, numbers in values.items()},
        }

    def _beyond(self, spaces: tuple[str, ...]) -> dict[str, Floats]:
        lists, known, n = self.lists, self.catalogue, self.n_users
        values = {
            "Novelty": beyond.novelty(lists, known.users, known.n_users, n),
            "Serendipity": beyond.serendipity(lists, self.hit, _chance_of_anyone(known), n),
            "ARP": beyond.average_popularity(lists, known.users, n),
            "APLT": beyond.long_tail_share(lists, _tail(known), n),
        }
        for space in self.spec.diversity_spaces:
            if space not in spaces:
                values[f"Diversity in {space}"] = beyond.diversity(lists, known.space(space), n)
        return values

    def slices(
        self, units: npt.NDArray[np.str_], history: Labels, labels: Mapping[str, Labels]
    ) -> Iterator[dict[str, Any]]:
        """Yield the accuracy of every segment: of users, or of the test items alone."""
        whole = accuracy(self.lists, self.hit, self.relevant, self.spec.k)
        for segment in np.unique(history):
            tested = (history == segment) & (self.relevant > 0)
            yield self._segment("history", str(segment), units, tested, whole)
        for name, values in labels.items():
            for segment in np.unique(values):
                if not segment:
                    continue
                inside = values == segment
                relevant = np.bincount(self.view.truth.user[inside], minlength=self.n_users)
                hit = self.hit.copy()
                hit[self.hit] = inside[self.match[self.hit]]
                found = accuracy(self.lists, hit, relevant, self.spec.k)
                yield self._segment(name, str(segment), units, relevant > 0, found)

    def _segment(
        self,
        name: str,
        segment: str,
        units: npt.NDArray[np.str_],
        tested: Flags,
        values: Mapping[str, Floats],
    ) -> dict[str, Any]:
        own, place, count = np.unique(units[tested], return_inverse=True, return_counts=True)
        sums = {m: np.bincount(place, v[tested], len(own)) for m, v in values.items()}
        return {"slice": name, "segment": segment, "user_id": None, "unit": own, "n": count, **sums}


def _table(part: Mapping[str, Any], spec: MeasureSpec) -> pa.Table:
    """Return the columns of a part under the schema: scalars repeated, NaN and absent as null."""
    rows = len(part["unit"])
    arrays = []
    for field in spec.schema:
        value = part.get(field.name)
        if isinstance(value, np.ndarray):
            arrays.append(pa.array(value, field.type, from_pandas=True))
        else:
            arrays.append(pa.array([value] * rows, field.type))
    return pa.Table.from_arrays(arrays, schema=spec.schema)

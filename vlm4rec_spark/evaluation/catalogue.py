"""What every worker knows of the items: a folder of files, written once per evaluation.

`items.arrow`: one row per item, sorted by id; `space-NAME.npy`: (n, d) float32 unit rows in the
same order, NaN where the space has no vector of the item; `model-NAME.npy`: what an arm learned
from the training events.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlm4rec_spark.errors import SchemaError

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Flags, Ints

Vectors = npt.NDArray[np.float32]
POOLS = ("all", "cold")
"""What is ranked: the whole catalogue, or the items without a training event alone."""
ITEMS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("users", pa.int64(), nullable=False),
        pa.field("recent_users", pa.int64(), nullable=False),
        pa.field("group_no", pa.int64(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("price", pa.float64()),
    ]
)
"""`users`: with a training event on the item; `recent_users`: in its last weeks; items with one
`group_no` are variants of each other, or have the same picture."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items of one evaluation; a row number is the rank of the item's id."""

    folder: Path
    items: pa.Table
    n_users: int
    """Users with a training event."""

    @cached_property
    def ids(self) -> npt.NDArray[np.str_]:
        """Ids, sorted."""
        return np.asarray(self.items["item_id"].to_pylist(), dtype=np.str_)

    @cached_property
    def users(self) -> Ints:
        """Training users of each item."""
        return self._numbers("users")

    @cached_property
    def recent_users(self) -> Ints:
        """Training users of each item in the last weeks before the cut."""
        return self._numbers("recent_users")

    @cached_property
    def groups(self) -> Ints:
        """Number of each item's variant group."""
        return self._numbers("group_no")

    @cached_property
    def is_cold(self) -> Flags:
        """Whether the item has no training event."""
        cold: Flags = self.users == 0
        return cold

    def pool(self, name: str) -> Ints:
        """Return the rows that are ranked, ascending."""
        if name == "cold":
            return np.flatnonzero(self.is_cold).astype(np.int64)
        return np.arange(len(self.items), dtype=np.int64)

    @cached_property
    def _members(self) -> tuple[Ints, Ints]:
        return np.argsort(self.groups, kind="stable"), np.sort(self.groups)

    def with_variants(self, rows: Ints) -> Ints:
        """Return the rows and all their variants, ascending, none twice."""
        order, sorted_groups = self._members
        wanted = np.unique(self.groups[rows])
        first = np.searchsorted(sorted_groups, wanted)
        last = np.searchsorted(sorted_groups, wanted, side="right")
        parts = [order[a:b] for a, b in zip(first, last, strict=True)]
        return np.unique(np.concatenate(parts)) if parts else rows[:0]

    def rows_of(self, item_ids: pa.ChunkedArray | pa.Array) -> Ints:
        """Return the row of each id, -1 for an unknown one."""
        found = pc.index_in(item_ids, value_set=self.items["item_id"].combine_chunks())
        return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)

    def space(self, name: str) -> Vectors:
        """Return the vectors of a space, (n, d) float32, mapped."""
        return _mapped(str(self.folder / f"space-{name}.npy"))

    def model(self, name: str) -> npt.NDArray[Any]:
        """Return an array that an arm learned, mapped."""
        return _mapped(str(self.folder / f"model-{name}.npy"))

    def _numbers(self, name: str) -> Ints:
        return np.asarray(self.items[name].to_numpy(), np.int64)


def write_catalogue(folder: Path, items: pa.Table, n_users: int) -> Catalogue:
    """Write the items, sorted by id, and return them as `load_catalogue` would."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.argsort(np.asarray(items["item_id"].to_pylist(), dtype=np.str_), kind="stable")
    table = items.select(ITEMS.names).cast(ITEMS).take(pa.array(order))
    table = table.replace_schema_metadata({"n_users": str(n_users)})
    with (
        pa.OSFile(str(folder / "items.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    return load_catalogue(str(folder))


@lru_cache(maxsize=2)
def load_catalogue(folder: str) -> Catalogue:
    """Map a folder that `write_catalogue` wrote; once per process, as folders never change.

    Raises:
        SchemaError: the folder is not there.
    """
    path = Path(folder)
    try:
        with pa.memory_map(str(path / "items.arrow")) as source:
            items = pa.ipc.open_file(source).read_all()
    except OSError as error:
        raise SchemaError(
            f"The evaluation's files in {path} cannot be read; topk.index_path must be a folder "
            "that every worker sees."
        ) from error
    return Catalogue(path, items, int(items.schema.metadata[b"n_users"]))


def save_array(folder: Path, name: str, values: npt.NDArray[Any]) -> None:
    """Write `NAME.npy` into the folder of a catalogue."""
    np.save(folder / f"{name}.npy", np.ascontiguousarray(values), allow_pickle=False)


@lru_cache(maxsize=32)
def _mapped(path: str) -> npt.NDArray[Any]:
    mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped

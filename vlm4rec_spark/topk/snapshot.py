"""The item matrix: a folder of files written once per state of the catalogue, memory-mapped.

`items.arrow`: what is known of each item; `vectors.npy`: (n, d) float32 unit rows in the same
order, alike rows together (see `engines.leaves`: `centroids.npy`, `offsets.npy`); `rank.npy`: the
place of each row when sorted by id; `hashes.npy`: of each row's facts, so that two matrices can be
compared; `effects.npy`: see `topk.effects`; `index/`: ScaNN's files,
where it is used; `meta.json`: what the folder was made from; `centre.npy`, `whitening.npy` and
`facets.npy`: how the vectors were moved, where `profiles` asks for it; `popularity-*.npy`,
`allowed-*.npy` ...: see `Beside`, per state of the interactions and per set of rules, so that new
events or rules never build an index. `snapshot_files` writes all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlm4rec_spark.errors import SchemaError
from vlm4rec_spark.topk.centring import without_mean
from vlm4rec_spark.topk.effects import word_numbers
from vlm4rec_spark.topk.engines.leaves import Leaves
from vlm4rec_spark.topk.words import Words, coded

FORMAT = 6
ITEMS = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("available", pa.bool_()),
        ("category", pa.string()),
        ("brand", pa.string()),
        ("variant_group", pa.string()),
        ("first_seen", pa.timestamp("us", tz="UTC")),
        ("words", pa.map_(pa.string(), pa.string())),
    ]
)
"""Columns of `items.arrow`; what a table lacks is null."""
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Beside:
    """Names of the arrays beside the matrix that a run uses."""

    popularity: str | None = None
    """(segments + 1, n) float64; None: every item is equally popular."""
    allowed: str | None = None
    """(groups, n) bool; None: every available item may be listed."""
    promoted: str | None = None
    """(promotions, n) bool; None: there are none."""
    business: str | None = None
    """(n,) float64 from 0 to 1; None: 0."""


@dataclass(frozen=True)
class Snapshot:
    """One state of the catalogue; all arrays follow the rows of the matrix."""

    folder: Path
    items: pa.Table
    """Columns of `ITEMS`."""
    vectors: Vectors
    leaves: Leaves
    rank: npt.NDArray[np.int64]
    """Place of each row when sorted by item id: ties go by it."""
    popularity: npt.NDArray[np.float64]
    """(segments + 1, n); line 0 is for everybody."""
    allowed: npt.NDArray[np.bool_]
    """(groups, n): which items may be listed for a group of users; line 0 is for everybody."""
    promoted: npt.NDArray[np.bool_]
    """(promotions, n): which items each promotion is for."""
    business: npt.NDArray[np.float64]
    """(n,) what the shop gains by an item, 0 to 1."""
    encoder: str = ""
    """model@revision the vectors come from."""
    centre: Vectors | None = None
    """(d,) mean that was subtracted from the vectors; None: they are as encoded."""
    whitening: Vectors | None = None
    """(d, d) matrix that the rest was multiplied by; None: it was not."""
    facets: Vectors | None = None
    """(d, d) matrix that stretches facets; None: all count as they are."""
    effects: Vectors | None = None
    """(words, d) what each frequent word does to a vector; None: not known."""
    hashes: npt.NDArray[np.int64] | None = None
    """(n,) hash of the facts and the vector of each row, `available` and `first_seen` left out;
    None: not known."""

    @staticmethod
    def of(items: pa.Table, vectors: Vectors, allowed: npt.NDArray[np.bool_]) -> Snapshot:
        """Return a snapshot of arrays in memory, rows sorted by id, in one leaf, for exact search.

        Args:
            items: columns of `ITEMS`, item_id at least.
            vectors: (n, d) float32; rows that may not be listed can be NaN.
            allowed: (groups, n).
        """
        n = len(vectors)
        return Snapshot(
            folder=Path(),
            items=items,
            vectors=vectors,
            leaves=Leaves(np.zeros((1, vectors.shape[1]), np.float32), np.array([0, n])),
            rank=np.arange(n),
            popularity=np.zeros((1, n)),
            allowed=allowed,
            promoted=np.zeros((0, n), bool),
            business=np.zeros(n),
        )

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def ids(self) -> pa.Array:
        """Item ids."""
        return self.items["item_id"].combine_chunks()

    @cached_property
    def names(self) -> npt.NDArray[np.str_]:
        """Item ids as numpy strings; for programs that look at items one by one."""
        return np.asarray(self.ids.to_pylist(), dtype=np.str_)

    @cached_property
    def available(self) -> npt.NDArray[np.int64]:
        """Rows of the items that everybody may be given, ascending."""
        return np.flatnonzero(self.allowed[0])

    @cached_property
    def titles(self) -> pa.Array:
        """Titles, empty where there is none."""
        return pc.fill_null(self.items["title"].combine_chunks(), "")

    @cached_property
    def words(self) -> Words:
        """Visible attributes of each item."""
        return coded(self.items["words"].combine_chunks())

    @cached_property
    def word_numbers(self) -> npt.NDArray[np.int64]:
        """(attributes, values): the line of `effects` of each word, -1: none."""
        numbers = word_numbers(self.words)
        return numbers if self.effects is not None else np.full_like(numbers, -1)

    def codes(self, column: str) -> npt.NDArray[np.int64]:
        """Return a number for each value of a text column, -1 for null."""
        encoded = self.items[column].combine_chunks().dictionary_encode()
        return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)

    def find(self, names: pa.Array) -> npt.NDArray[np.int64]:
        """Return the row of each item id, -1 for ids without a vector."""
        rows = pc.index_in(names, value_set=self.ids).fill_null(-1)
        return np.asarray(rows.to_numpy(zero_copy_only=False), np.int64)

    def placed(self, encoded: Vectors) -> Vectors:
        """Bring vectors as an encoder gives them, (m, d) unit rows, into the space of the items."""
        if self.centre is not None:
            encoded = without_mean(encoded, self.centre, self.whitening)
        if self.facets is not None:
            nothing = np.zeros(encoded.shape[1], np.float32)
            encoded = without_mean(encoded, nothing, self.facets)
        return encoded

    @property
    def index(self) -> Path:
        """Folder of the ScaNN index."""
        return self.folder / "index"


def read_array(folder: str, name: str) -> npt.NDArray[Any]:
    """Map an array that `snapshot_files.write_array` wrote."""
    return np.asarray(_mapped(Path(folder) / name))


def snapshots(root: Path) -> list[Path]:
    """Return the folders below `topk.index_path`, the newest first."""
    found = root.glob("snapshot-*")
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


@lru_cache(maxsize=1)
def load_snapshot(folder: str, beside: Beside | None = None) -> Snapshot:
    """Map a folder; once per process, as folders never change.

    Args:
        folder: what `snapshot_files.write_snapshot` wrote.
        beside: arrays of the run.

    Raises:
        SchemaError: the folder is not there or was written by another version.
    """
    path = Path(folder)
    try:
        meta = json.loads((path / "meta.json").read_text("utf-8"))
    except OSError as error:
        raise SchemaError(
            f"The item matrix {path} cannot be read ({error.strerror}); topk.index_path must be a "
            "folder that every worker sees."
        ) from error
    if meta["format"] != FORMAT:
        raise SchemaError(f"{path} has format {meta['format']}, expected {FORMAT}; delete it.")
    with pa.memory_map(str(path / "items.arrow")) as source:
        items = pa.ipc.open_file(source).read_all()
    n = len(items)
    available = items["available"].combine_chunks().fill_null(False)
    beside = beside or Beside()
    anybody = np.asarray(available.to_numpy(zero_copy_only=False), bool)[None, :]
    return Snapshot(
        folder=path,
        items=items,
        vectors=_mapped(path / "vectors.npy"),
        leaves=Leaves(_mapped(path / "centroids.npy"), np.load(path / "offsets.npy")),
        rank=_mapped(path / "rank.npy"),
        popularity=_or(path, beside.popularity, np.zeros((1, n))),
        allowed=_or(path, beside.allowed, anybody),
        promoted=_or(path, beside.promoted, np.zeros((0, n), bool)),
        business=_or(path, beside.business, np.zeros(n)),
        encoder=meta["encoder"],
        centre=_if_there(path / "centre.npy"),
        whitening=_if_there(path / "whitening.npy"),
        facets=_if_there(path / "facets.npy"),
        effects=_mapped(path / "effects.npy"),
        hashes=_if_there(path / "hashes.npy"),
    )


def _or(folder: Path, name: str | None, default: npt.NDArray[Any]) -> Any:
    return _mapped(folder / name) if name else default


def _if_there(path: Path) -> Any:
    return _mapped(path) if path.exists() else None


def _mapped(path: Path) -> Any:
    """Map a file; numpy's subclass for maps is slow, and numba does not know it."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)).view(np.ndarray)

"""The item matrix: a folder of files written once per state of the catalogue, memory-mapped.

`items.arrow`: item_id (sorted), title, available, words; `vectors.npy`: (n, d) float32 unit rows
in the same order; `index/`: ScaNN's files over the available rows; `meta.json`: what the folder
was made from; `popularity-*.npy`: (n,) float64, one file per state of the interactions, so that
new events never build an index.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.errors import SchemaError

FORMAT = 2
KEPT = 2
"""Older folders are removed; a run that still reads the one before keeps working."""
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Snapshot:
    """One state of the catalogue; position in all arrays is the rank of the item's id."""

    folder: Path
    ids: npt.NDArray[np.str_]
    vectors: Vectors
    available: npt.NDArray[np.int64]
    """Positions of the items that may be listed, ascending."""
    popularity: npt.NDArray[np.float64]
    titles: list[str]
    words: list[dict[str, str]]
    """Visible attributes of each item, name to value."""
    encoder: str = ""
    """model@revision the vectors come from."""

    @cached_property
    def listable(self) -> Vectors:
        """Vectors of the available items, copied only where some are not available."""
        if len(self.available) == len(self.ids):
            return self.vectors
        return np.ascontiguousarray(self.vectors[self.available])

    @property
    def index(self) -> Path:
        """Folder of the ScaNN index over `available`."""
        return self.folder / "index"


def write_snapshot(
    folder: Path,
    items: pa.Table,
    vectors: Vectors,
    build_index: Callable[[Vectors, Path], None],
    encoder: str = "",
) -> None:
    """Write a folder; it appears under its name only when it is whole.

    Args:
        folder: where to.
        items: item_id, title, available, words, sorted by item_id.
        vectors: (n, d) float32, unit rows, finite.
        build_index: called with the available rows and the folder for the index files.
        encoder: model@revision the vectors come from.

    Raises:
        SchemaError: a vector is not finite, or the lengths differ.
    """
    if len(items) != len(vectors) or not np.isfinite(vectors).all():
        raise SchemaError("The item vectors are not finite or not one per item; embed them again.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    with (
        pa.OSFile(str(partial / "items.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, items.schema) as writer,
    ):
        writer.write_table(items)
    np.save(partial / "vectors.npy", vectors, allow_pickle=False)
    (partial / "index").mkdir()
    available = np.flatnonzero(np.asarray(items["available"].to_pylist(), bool))
    build_index(np.ascontiguousarray(vectors[available]), partial / "index")
    meta = {
        "format": FORMAT,
        "items": len(items),
        "dimensions": int(vectors.shape[1]),
        "encoder": encoder,
    }
    (partial / "meta.json").write_text(json.dumps(meta), "utf-8")
    partial.chmod(0o755)
    if folder.exists():  # a run beside this one was faster, with the same content
        shutil.rmtree(partial)
    else:
        partial.rename(folder)
    _forget_old(folder)


def _forget_old(newest: Path) -> None:
    others = [p for p in newest.parent.glob("snapshot-*") if p != newest]
    others.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in others[KEPT - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def write_popularity(folder: Path, popularity: npt.NDArray[np.float64]) -> str:
    """Write (n,) popularity beside the matrix and return the file's name, made of its content."""
    values = np.ascontiguousarray(popularity, dtype=np.float64)
    name = f"popularity-{hashlib.sha256(values.tobytes()).hexdigest()[:16]}.npy"
    if not (folder / name).exists():
        old = sorted(folder.glob("popularity-*.npy"), key=lambda p: p.stat().st_mtime)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False) as file:
            np.save(file, values, allow_pickle=False)
        Path(file.name).chmod(0o644)
        Path(file.name).rename(folder / name)
        for path in old[: 1 - KEPT]:
            path.unlink(missing_ok=True)
    return name


@lru_cache(maxsize=1)
def load_snapshot(folder: str, popularity: str | None = None) -> Snapshot:
    """Map a folder; once per process, as folders never change.

    Args:
        folder: what `write_snapshot` wrote.
        popularity: what `write_popularity` returned; None: every item is equally popular.

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
    available = np.asarray(items["available"].to_pylist(), bool)
    return Snapshot(
        folder=path,
        ids=np.asarray(items["item_id"].to_pylist(), dtype=np.str_),
        vectors=np.load(path / "vectors.npy", mmap_mode="r", allow_pickle=False),
        available=np.flatnonzero(available).astype(np.int64),
        popularity=(
            np.load(path / popularity, allow_pickle=False) if popularity else np.zeros(len(items))
        ),
        titles=[title or "" for title in items["title"].to_pylist()],
        words=[dict(words or []) for words in items["words"].to_pylist()],
        encoder=str(meta["encoder"]),
    )

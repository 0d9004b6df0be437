"""Writing the item matrix and the arrays beside it; `snapshot` says what they are."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.embeddings.matrix import NAMED, REMEDY
from vlm4rec_spark.errors import SchemaError
from vlm4rec_spark.topk.centring import PLAIN, Space
from vlm4rec_spark.topk.effects import fitted
from vlm4rec_spark.topk.engines import scann
from vlm4rec_spark.topk.engines.leaves import build_leaves, grown_leaves
from vlm4rec_spark.topk.moving import moved
from vlm4rec_spark.topk.snapshot import FORMAT, ITEMS, Vectors, snapshots
from vlm4rec_spark.topk.words import coded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm4rec_spark.topk.engines.leaves import Leaves

KEPT = 2
"""Older folders are removed; a run that still reads the one before keeps working."""
LONGER_BY = 0.01
"""How far from 1 the length of a vector may be."""


@dataclass(frozen=True)
class Grown:
    """Rows among the leaves of an earlier matrix: nothing is built."""

    centroids: Vectors
    leaf: npt.NDArray[np.int64]
    """(n,) leaf of each row, in the order of the items."""
    rows: int
    """Rows put in since the leaves were built."""


def write_snapshot(
    folder: Path,
    items: pa.Table,
    vectors: Vectors,
    encoder: str = "",
    *,
    with_scann: bool = False,
    space: Space = PLAIN,
) -> None:
    """Write a folder; it appears under its name only when it is whole.

    Args:
        folder: where to.
        items: some columns of `ITEMS`, item_id at least, sorted by item_id; where known `hash`, see
            `Snapshot.hashes`.
        vectors: (n, d) float32, unit rows, finite.
        encoder: model@revision the vectors come from.
        with_scann: build ScaNN's index, too.
        space: how the vectors are moved first.

    Raises:
        SchemaError: a vector is not finite, or the lengths differ.
    """
    _check(items, vectors)
    with _appearing(folder) as partial:
        vectors = _moved(partial, items, vectors, space)
        leaves, order = build_leaves(vectors)
        rows = _write_rows(partial, items, vectors, leaves, order)
        _write_index(partial, rows, with_scann=with_scann)
        _write_meta(partial, rows, encoder)


def write_grown(
    folder: Path,
    items: pa.Table,
    vectors: Vectors,
    encoder: str,
    grown: Grown,
    *,
    with_scann: bool = False,
) -> None:
    """Write a folder like `write_snapshot`, the rows among leaves that are there already."""
    _check(items, vectors)
    with _appearing(folder) as partial:
        leaves, order = grown_leaves(grown.centroids, grown.leaf)
        rows = _write_rows(partial, items, vectors, leaves, order)
        _write_index(partial, rows, with_scann=with_scann)
        _write_meta(partial, rows, encoder, grown.rows)


def _write_index(folder: Path, rows: Vectors, *, with_scann: bool) -> None:
    if with_scann and len(rows):
        (folder / "index").mkdir()
        scann.build_index(rows, folder / "index")


def _check(items: pa.Table, vectors: Vectors) -> None:
    if len(items) != len(vectors):
        raise SchemaError(f"There are {len(vectors)} vectors for {len(items)} items.")
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))  # `norm` would square a copy
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < LONGER_BY))
    if len(wrong):
        told = {items["item_id"][row].as_py(): float(lengths[row]) for row in wrong[:NAMED]}
        raise SchemaError(
            f"{len(wrong)} item vectors are not finite or not of length 1 (item: length): {told}. "
            f"{REMEDY}"
        )


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which gets its name at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    yield partial
    partial.chmod(0o755)
    if folder.exists():  # a run beside this one was faster, with the same content
        shutil.rmtree(partial)
    else:
        partial.rename(folder)
    _forget_old(folder)


def _write_rows(
    folder: Path, items: pa.Table, vectors: Vectors, leaves: Leaves, order: npt.NDArray[np.int64]
) -> Vectors:
    """Write what is known of the items, leaf by leaf; return the vectors so."""
    rows = np.ascontiguousarray(vectors[order])
    table = _as_stored(items).take(pa.array(order))
    with pa.OSFile(str(folder / "items.arrow"), "wb") as sink, pa.ipc.new_file(sink, ITEMS) as out:
        out.write_table(table)
    arrays: dict[str, npt.NDArray[Any]] = {
        "vectors": rows,
        "effects": fitted(rows, coded(table["words"].combine_chunks())),
        "centroids": leaves.centroids,
        "offsets": leaves.offsets,
        "rank": order,
    }
    if "hash" in items.column_names:
        arrays["hashes"] = items["hash"].to_numpy()[order]
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return rows


def _write_meta(folder: Path, rows: Vectors, encoder: str, grown: int = 0) -> None:
    meta = {
        "format": FORMAT,
        "items": len(rows),
        "dimensions": int(rows.shape[1]),
        "encoder": encoder,
        "grown": grown,
        "sha256": {
            str(path.relative_to(folder)): _sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    (folder / "meta.json").write_text(json.dumps(meta), "utf-8")


def is_whole(folder: Path) -> bool:
    """Tell whether every file of a matrix is there, and as it was written."""
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        return all(_sha256(folder / name) == digest for name, digest in meta["sha256"].items())
    except (OSError, ValueError, KeyError):
        return False


def _moved(folder: Path, items: pa.Table, vectors: Vectors, space: Space) -> Vectors:
    """Return the vectors in a space, and write down how they got there."""
    found = moved(vectors, space, _as_stored(items)["words"].combine_chunks)
    for name in ("centre", "whitening", "facets"):
        array = getattr(found, name)
        if array is not None:
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return found.vectors


def _as_stored(items: pa.Table) -> pa.Table:
    """Return all columns of `ITEMS`, null where they are not given."""
    columns = [
        items[field.name].cast(field.type)
        if field.name in items.column_names
        else pa.nulls(len(items), field.type)
        for field in ITEMS
    ]
    return pa.table(columns, schema=ITEMS)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _forget_old(newest: Path) -> None:
    others = [path for path in snapshots(newest.parent) if path != newest]
    for folder in others[KEPT - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def write_array(folder: Path, kind: str, values: npt.NDArray[Any]) -> str:
    """Write an array beside the matrix; return the file's name, made of its content.

    Args:
        folder: of the snapshot.
        kind: a field of `Beside`, or `wardrobe`: items cell by cell.
        values: the array.
    """
    values = np.ascontiguousarray(values)
    name = f"{kind}-{hashlib.sha256(values.tobytes()).hexdigest()[:16]}.npy"
    if not (folder / name).exists():
        old = sorted(folder.glob(f"{kind}-*.npy"), key=lambda p: p.stat().st_mtime)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False) as file:
            np.save(file, values, allow_pickle=False)
        Path(file.name).chmod(0o644)
        Path(file.name).rename(folder / name)
        for path in old[: 1 - KEPT]:
            path.unlink(missing_ok=True)
    return name

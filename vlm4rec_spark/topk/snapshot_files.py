"""Writing the item matrix and the arrays beside it; `snapshot` says what they are."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.errors import SchemaError
from vlm4rec_spark.topk.centring import PLAIN, Space, mean_vector, whitening, without_mean
from vlm4rec_spark.topk.effects import fitted
from vlm4rec_spark.topk.engines import scann
from vlm4rec_spark.topk.engines.leaves import build_leaves
from vlm4rec_spark.topk.facets import facet_matrix
from vlm4rec_spark.topk.snapshot import FORMAT, ITEMS, Vectors, snapshots
from vlm4rec_spark.topk.words import coded

KEPT = 2
"""Older folders are removed; a run that still reads the one before keeps working."""


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
        items: some columns of `ITEMS`, item_id at least, sorted by item_id.
        vectors: (n, d) float32, unit rows, finite.
        encoder: model@revision the vectors come from.
        with_scann: build ScaNN's index, too.
        space: how the vectors are moved first.

    Raises:
        SchemaError: a vector is not finite, or the lengths differ.
    """
    if len(items) != len(vectors) or not np.isfinite(vectors).all():
        raise SchemaError("The item vectors are not finite or not one per item; embed them again.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    items = _as_stored(items)
    vectors = _moved(partial, items, vectors, space)
    leaves, order = build_leaves(vectors)
    rows = np.ascontiguousarray(vectors[order])
    table = items.take(pa.array(order))
    with pa.OSFile(str(partial / "items.arrow"), "wb") as sink, pa.ipc.new_file(sink, ITEMS) as out:
        out.write_table(table)
    for name, array in (
        ("vectors", rows),
        ("effects", fitted(rows, coded(table["words"].combine_chunks()))),
        ("centroids", leaves.centroids),
        ("offsets", leaves.offsets),
        ("rank", order),
    ):
        np.save(partial / f"{name}.npy", array, allow_pickle=False)
    if with_scann and len(rows):
        (partial / "index").mkdir()
        scann.build_index(rows, partial / "index")
    meta = {
        "format": FORMAT,
        "items": len(items),
        "dimensions": int(vectors.shape[1]),
        "encoder": encoder,
        "sha256": {path.name: _sha256(path) for path in sorted(partial.glob("*.*"))},
    }
    (partial / "meta.json").write_text(json.dumps(meta), "utf-8")
    partial.chmod(0o755)
    if folder.exists():  # a run beside this one was faster, with the same content
        shutil.rmtree(partial)
    else:
        partial.rename(folder)
    _forget_old(folder)


def _moved(folder: Path, items: pa.Table, vectors: Vectors, space: Space) -> Vectors:
    """Return the vectors in a space, and write down how they got there."""
    if space.kind != "plain":
        mean = mean_vector(vectors)
        np.save(folder / "centre.npy", mean, allow_pickle=False)
        matrix = whitening(vectors, mean) if space.kind == "whitened" else None
        if matrix is not None:
            np.save(folder / "whitening.npy", matrix, allow_pickle=False)
        vectors = without_mean(vectors, mean, matrix)
    if space.facets:
        words = coded(items["words"].combine_chunks())
        matrix = facet_matrix(vectors, words, dict(space.facets))
        np.save(folder / "facets.npy", matrix, allow_pickle=False)
        vectors = without_mean(vectors, np.zeros(vectors.shape[1], np.float32), matrix)
    return vectors


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

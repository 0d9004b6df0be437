"""A column of vectors as one matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlm4rec_spark.errors import SchemaError

NAMED = 3
"""Items that a message names."""
REMEDY = "Delete their rows from `embeddings` and `item_vectors`, and run the catalog job again."


def as_matrix(ids: pa.ChunkedArray, vectors: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return (n, d) float32 vectors from a column of lists; a null among the numbers is NaN.

    Raises:
        SchemaError: a vector is missing, or not as long as most are; with some of their items.
    """
    sizes = pc.fill_null(pc.list_value_length(vectors), -1).to_numpy()
    d = int(np.bincount(np.maximum(sizes, 0)).argmax()) if len(sizes) else 0
    odd = np.flatnonzero((sizes != d) | (sizes == 0))
    if len(odd):
        told = {ids[row].as_py(): max(int(sizes[row]), 0) for row in odd[:NAMED].tolist()}
        raise SchemaError(
            f"{len(odd)} of {len(sizes)} item vectors do not have {d} numbers like the others "
            f"(item: numbers): {told}. {REMEDY}"
        )
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in vectors.chunks]
    numbers = np.concatenate(parts) if parts else np.zeros(0)
    return numbers.astype(np.float32, copy=False).reshape(len(sizes), d)

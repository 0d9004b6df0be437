"""A search in parts: each part of the rows by itself, then the best of all parts.

Twice the same code asks an engine. First, once for each part, it asks a `PartSearch`, which notes
what the part has and says that nothing was found: so it hears all questions that do not depend on
answers. Then it asks a `Foreseen`, which has the notes of all parts. A question is known by its
contents, the vector and the masks of one query; what not all parts have heard, or not found to the
full, is searched for among all rows. So notes save work and change nothing: without them the
answers are the same. Where processors that round differently work together, a question may not be
known again, which only costs time.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import numpy.typing as npt

    from vlm4rec_spark.topk.engines.interface import Engine, Masks, PartedEngine, Rows, Vectors

NOTES = pa.schema(
    [
        ("question", pa.binary()),
        ("rows", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.float32())),
    ]
)
"""What a part has for each question that it heard, none twice; also that it has nothing."""
DIGEST_BYTES = 16


class PartSearch:
    """Searches a part and notes what it finds; tells those who ask that there is nothing."""

    def __init__(self, engine: PartedEngine, part: range) -> None:
        self.engine = engine
        self.part = part
        self.found: dict[bytes, tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]] = {}

    def nearest(self, queries: Vectors, k: int, masks: Masks) -> Rows:
        """See `Engine`, but for its promise."""
        best = self.engine.within(self.part, queries, k, masks)
        sizes = (best.rows(best.k) >= 0).sum(1)
        for line, (question, size) in enumerate(
            zip(questions(queries, k, masks), sizes, strict=True)
        ):
            self.found[question] = best.found[line, :size], best.scores[line, :size]
        return np.full((len(queries), k), -1, np.int64)

    def notes(self) -> pa.Table:
        """Return `NOTES`."""
        nothing = (np.zeros(0, np.int32), np.zeros(0, np.float32))
        found = list(self.found.values())
        ends = np.cumsum([0, *(len(rows) for rows, _ in found)], dtype=np.int32)
        columns = (np.concatenate(arrays) for arrays in zip(nothing, *found, strict=True))
        lists = (pa.ListArray.from_arrays(pa.array(ends), pa.array(column)) for column in columns)
        return pa.table([pa.array(self.found, pa.binary()), *lists], schema=NOTES)


class Foreseen:
    """Answers with the best of all parts where these are all there are, else searches."""

    def __init__(self, engine: Engine, notes: pa.Table, count: int) -> None:
        """Take the `NOTES` of so many parts, which make up the rows that the engine searches."""
        self.engine = engine
        encoded = notes["question"].combine_chunks().dictionary_encode()
        rows, scores = (notes[name].combine_chunks() for name in ("rows", "scores"))
        question = encoded.indices.to_numpy()
        owner = np.repeat(question, rows.value_lengths().to_numpy())
        order = np.lexsort((-scores.flatten().to_numpy(), owner))
        self.questions = encoded.dictionary
        self.rows = rows.flatten().to_numpy()[order]
        self.starts = np.searchsorted(owner[order], np.arange(len(self.questions) + 1))
        heard_by = np.bincount(question, minlength=len(self.questions))
        # The last one stands for what is not known.
        self.sizes = np.append(np.where(heard_by == count, np.diff(self.starts), 0), 0)

    def nearest(self, queries: Vectors, k: int, masks: Masks) -> Rows:
        """See `Engine`."""
        asked = pa.array(questions(queries, k, masks), pa.binary())
        known = pc.index_in(asked, value_set=self.questions).fill_null(-1).to_numpy()
        start, size = self.starts[known], self.sizes[known]
        place = np.arange(k)
        is_filled = place < np.minimum(size, k)[:, None]
        found = np.full(is_filled.shape, -1, np.int64)
        found[is_filled] = self.rows[(start[:, None] + place)[is_filled]]
        short = np.flatnonzero(size < np.minimum(masks.eligible(), k))
        if len(short):
            found[short] = self.engine.nearest(queries[short], k, masks.of(short))
        return found


def questions(queries: Vectors, k: int, masks: Masks) -> list[bytes]:
    """Return a digest of what each query asks: its vector, k, and what it may not be given."""
    queries = np.ascontiguousarray(queries)
    of_group = {
        group: hashlib.blake2b(
            k.to_bytes(8, "little") + masks.allowed[group].tobytes(), digest_size=DIGEST_BYTES
        )
        for group in np.unique(masks.group).tolist()
    }
    digests = []
    for query, group, start, stop in zip(
        queries, masks.group.tolist(), masks.starts[:-1], masks.starts[1:], strict=True
    ):
        digest = of_group[group].copy()
        digest.update(query)
        digest.update(masks.hidden[start:stop].tobytes())
        digests.append(digest.digest())
    return digests


def parts(n: int, count: int) -> list[range]:
    """Return n rows in so many parts of about equal size.

    >>> parts(5, 2)
    [range(0, 2), range(2, 5)]
    """
    ends = [n * part // count for part in range(count + 1)]
    return [range(*pair) for pair in itertools.pairwise(ends)]

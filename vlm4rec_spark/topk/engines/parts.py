"""A search in parts: each part of the rows by itself, then the best of all parts.

Twice the same code asks an engine. First a `Listener`, which says that nothing was found: so it
hears all questions that do not depend on answers. These are searched for in each part (`searched`).
Then the code asks a `Foreseen`, which has the notes of all parts. A question is known by its
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

from vlm4rec_spark.topk.engines.interface import Masks

if TYPE_CHECKING:
    import numpy.typing as npt

    from vlm4rec_spark.topk.engines.interface import Engine, PartedEngine, Rows, Vectors

QUESTIONS = pa.schema(
    [
        ("block", pa.int64()),
        ("question", pa.binary()),
        ("k", pa.int32()),
        ("vector", pa.binary()),
        ("allowed", pa.binary()),
        ("hidden", pa.binary()),
    ]
)
"""Who asks, a question's digest, and what it asks: float32 vector, digest of the line of
`Masks.allowed`, int64 hidden rows."""
NOTES = pa.schema(
    [
        ("block", pa.int64()),
        ("question", pa.binary()),
        ("rows", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.float32())),
    ]
)
"""What a part has for each question that it heard; also that it has nothing."""
DIGEST_BYTES = 16


class Listener:
    """Hears the questions of a block of queries; tells those who ask that there is nothing."""

    def __init__(self, block: int = 0) -> None:
        self.block = block
        self.heard: dict[bytes, tuple[bytes, int, bytes, bytes, bytes]] = {}

    def nearest(self, queries: Vectors, k: int, masks: Masks) -> Rows:
        """See `Engine`, but for its promise."""
        lines = digests(masks.allowed)
        for number, question in enumerate(questions(queries, k, masks)):
            hidden = masks.hidden[masks.starts[number] : masks.starts[number + 1]]
            vector, line = queries[number].tobytes(), lines[masks.group[number]]
            self.heard[question] = question, k, vector, line, hidden.tobytes()
        return np.full((len(queries), k), -1, np.int64)

    def questions(self) -> pa.Table:
        """Return `QUESTIONS`, none twice."""
        names = QUESTIONS.names[1:]
        rows = [
            dict(zip(names, asked, strict=True), block=self.block) for asked in self.heard.values()
        ]
        return pa.Table.from_pylist(rows, schema=QUESTIONS)


def searched(
    asked: pa.Table, allowed: npt.NDArray[np.bool_], engine: PartedEngine, part: range
) -> pa.Table:
    """Return the `NOTES` of a part.

    Args:
        asked: `QUESTIONS`.
        allowed: (lines, n) all that the questions name.
        engine: over all rows.
        part: which of them are searched.
    """
    notes = [NOTES.empty_table()]
    lines = pa.array(digests(allowed), pa.binary())
    for k in pc.unique(asked["k"]).to_pylist():
        some = asked.filter(pc.equal(asked["k"], k))
        vectors = np.frombuffer(b"".join(some["vector"].to_pylist()), np.float32)
        hidden = [np.frombuffer(rows, np.int64) for rows in some["hidden"].to_pylist()]
        starts = np.cumsum([0, *map(len, hidden)])
        # A line that is not known raises an error: nulls do not become numbers.
        group = pc.index_in(some["allowed"].combine_chunks(), value_set=lines).to_numpy()
        masks = Masks(np.concatenate(hidden), starts, allowed, group.astype(np.int64))
        best = engine.within(part, vectors.reshape(len(some), -1), k, masks)
        is_filled = best.rows(best.k) >= 0
        ends = pa.array(np.cumsum([0, *is_filled.sum(1)], dtype=np.int32))
        lists = (
            pa.ListArray.from_arrays(ends, pa.array(found[:, : best.k][is_filled]))
            for found in (best.found, best.scores)
        )
        notes.append(pa.table([some["block"], some["question"], *lists], schema=NOTES))
    return pa.concat_tables(notes)


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
    depth = k.to_bytes(8, "little")
    of_group = [_hashed(depth + line) for line in digests(masks.allowed)]
    asked = []
    for number, (query, group) in enumerate(zip(queries, masks.group, strict=True)):
        question = of_group[group].copy()
        question.update(query.tobytes())
        question.update(masks.hidden[masks.starts[number] : masks.starts[number + 1]].tobytes())
        asked.append(question.digest())
    return asked


def digests(lines: npt.NDArray[np.bool_]) -> list[bytes]:
    """Return a digest of each line."""
    return [_hashed(line.tobytes()).digest() for line in lines]


def _hashed(content: bytes) -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES)


def parts(n: int, count: int) -> list[range]:
    """Return n rows in so many parts of about equal size.

    >>> parts(5, 2)
    [range(0, 2), range(2, 5)]
    """
    ends = [n * part // count for part in range(count + 1)]
    return [range(*pair) for pair in itertools.pairwise(ends)]

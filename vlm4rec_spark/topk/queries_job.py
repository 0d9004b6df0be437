"""Search for many sentences at once: a table of queries in, the table `searches` out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.errors import SourceError, Vlm4RecError, near
from vlm4rec_spark.runs import RunReport
from vlm4rec_spark.tables import SEARCHES
from vlm4rec_spark.topk.edits import STRENGTH, Edit
from vlm4rec_spark.topk.engines.exact import ExactEngine
from vlm4rec_spark.topk.engines.interface import Masks
from vlm4rec_spark.topk.landing import landed
from vlm4rec_spark.topk.list_table import places
from vlm4rec_spark.topk.ranking import ranked
from vlm4rec_spark.topk.search import Searchable
from vlm4rec_spark.topk.snapshot import load_snapshot, read_array
from vlm4rec_spark.topk.snapshot_files import write_array

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from vlm4rec_spark.embeddings.encoders import EncoderSpec
    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)
QUERIES_A_BLOCK = 1024
QUERIES_A_TASK = 8192
NO_PHRASES = "CAST(array() AS ARRAY<STRING>)"
FORMATS = {".csv": "csv", ".parquet": "parquet", ".json": "json", ".jsonl": "json"}


@dataclass(frozen=True)
class QueriesSpec:
    """What a worker needs to answer queries."""

    folder: str
    allowed: str
    """Array beside the matrix: (1, n) bool."""
    encoder: EncoderSpec
    k: int
    strength: float
    run_id: str


def search_many(
    context: RunContext, queries: str, k: int, where: str | None = None, strength: float = STRENGTH
) -> RunReport:
    """Write the k items nearest to each query into `searches`, which holds the last batch only.

    Args:
        context: the run.
        queries: a table, or a file or folder of Parquet, CSV with a header, JSON lines or Delta,
            with the columns query_id and text, and where wanted more and less: phrases as an
            array, or in one text, parted by semicolons.
        k: items wanted.
        where: condition that every item meets, as in `topk.rules`.
        strength: weight of a phrase in more or less.

    Returns:
        counts: queries, queries_left_out (no id, no text, or an id that was there), answered,
            rows_changed.

    Raises:
        ConfigError: the condition is wrong.
        SourceError: the queries cannot be read or lack a column; no item has a vector.
    """
    started = time.monotonic()
    asked = _asked(context, queries)
    space = Searchable.of(context, where)
    allowed = write_array(Path(space.folder), "searched", space.allowed)
    spec = QueriesSpec(space.folder, allowed, space.encoder, k, strength, context.run_id)
    usable = landed(context, asked.where("nth = 1").drop("nth"), "queries")
    n, n_usable = asked.count(), usable.count()
    tasks = max(1, -(-n_usable // QUERIES_A_TASK))
    answers = usable.repartition(tasks).mapInArrow(_answers(spec), SEARCHES.spark_ddl())
    rows = landed(context, answers, SEARCHES.name)
    merged = delta.merge_on_key(context.spark, rows, SEARCHES, context.names, delete_missing=True)
    answered = rows.select("query_id").distinct().count()
    if answered < n:
        logger.warning("%d of %d queries have no answer (no id, no text, no fit)", n - answered, n)
    counts = {
        "queries": n,
        "queries_left_out": n - n_usable,
        "queries_answered": answered,
        "rows_changed": merged.changed,
    }
    return RunReport("search", counts, {}, time.monotonic() - started, "embedding the queries")


def _asked(context: RunContext, queries: str) -> DataFrame:
    """Return query_id, text, more, less, nth: 1 for queries that can be answered."""
    frame = _opened(context, queries)
    missing = {"query_id", "text"} - set(frame.columns)
    if missing:
        close = "".join(near(name, frame.columns) for name in sorted(missing))
        raise SourceError(
            f"The queries in {queries} lack {', '.join(sorted(missing))}{close} Expected "
            f"query_id, text and, where wanted, more and less; found: {', '.join(frame.columns)}."
        )
    plain = frame.select(
        F.col("query_id").cast("string").alias("query_id"),
        F.trim(F.col("text").cast("string")).alias("text"),
        _phrases(frame, "more").alias("more"),
        _phrases(frame, "less").alias("less"),
    )
    fits = F.expr("query_id IS NOT NULL AND coalesce(text, '') <> ''")
    # Of an id that stands there twice the first text by name is answered.
    nth = F.expr("row_number() OVER (PARTITION BY query_id ORDER BY text, more, less)")
    good = plain.where(fits).withColumn("nth", nth)
    return good.unionByName(plain.where(~fits).withColumn("nth", F.lit(0)))


def _opened(context: RunContext, queries: str) -> DataFrame:
    kind = FORMATS.get(Path(queries).suffix)
    try:
        if kind is None and "/" not in queries:
            frame = context.spark.table(queries)
        else:
            reader = context.spark.read.format(kind or "delta").option("header", "true")
            frame = reader.load(queries)
        frame.columns  # noqa: B018 - on Connect only this asks the server
    except Exception as error:
        # Spark's classes for what is missing differ between Classic and Connect.
        reason = str(error).strip().partition("\n")[0][:300]
        raise SourceError(
            f"The queries in {queries} cannot be read: {reason} Give a table, or a path to "
            "Parquet, CSV, JSON lines or Delta."
        ) from error
    return frame


def _phrases(frame: DataFrame, name: str) -> Column:
    """Return a column of phrases as an array; what is blank is left out."""
    if name not in frame.columns:
        return F.expr(NO_PHRASES)
    is_text = frame.schema[name].dataType.typeName() == "string"
    several = f"split({name}, ';')" if is_text else f"CAST({name} AS ARRAY<STRING>)"
    kept = f"filter(transform({several}, p -> trim(p)), p -> coalesce(p, '') <> '')"
    return F.coalesce(F.expr(kept), F.expr(NO_PHRASES))


def _answers(
    spec: QueriesSpec,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        space = Searchable(
            spec.folder, load_snapshot(spec.folder), read_array(spec.folder, spec.allowed),
            spec.encoder,
        )  # fmt: skip
        for batch in batches:
            for start in range(0, len(batch), QUERIES_A_BLOCK):
                table = answered(space, batch.slice(start, QUERIES_A_BLOCK), spec)
                yield from table.cast(SEARCHES.arrow_schema()).to_batches()

    return build


def answered(space: Searchable, queries: pa.RecordBatch, spec: QueriesSpec) -> pa.Table:
    """Return rows of `searches` for queries: query_id, text, more, less."""
    rows = queries.to_pylist()
    vectors = space.encoded([row["text"] for row in rows])
    phrases = sorted({phrase for row in rows for phrase in (*row["more"], *row["less"])})
    known = space.encoded(phrases) if phrases else vectors[:0]
    number = {phrase: n for n, phrase in enumerate(phrases)}
    kept = []
    for n, row in enumerate(rows):
        edit = Edit(tuple(row["more"]), tuple(row["less"]), spec.strength)
        try:
            vectors[n] = edit.applied(
                vectors[n : n + 1], lambda texts: known[[number[text] for text in texts]]
            )[0]
        except Vlm4RecError as error:
            logger.warning("query %s: %s", row["query_id"], error)
            continue
        kept.append(n)
    masks = replace(Masks.nothing(len(kept), len(space.snapshot)), allowed=space.allowed)
    exact = ExactEngine(space.snapshot.vectors)
    found = ranked(space.snapshot, exact, vectors[kept], spec.k, masks)
    flat = places(found, np.array(kept, np.int64))
    return pa.table(
        {
            "query_id": queries.column("query_id").take(pa.array(flat.users)),
            "rank": pa.array(flat.ranks),
            "item_id": space.snapshot.ids.take(pa.array(flat.rows)),
            "score": pa.array(flat.scores),
            "run_id": pa.array([spec.run_id] * len(flat.rows), pa.string()),
        }
    )

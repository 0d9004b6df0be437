"""Read the arms that others made: lists, texts, vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.catalog.addresses import redact
from vlm4rec_spark.errors import SourceError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.config_evaluation import ArmSource
    from vlm4rec_spark.runs import RunContext

NEEDED = {
    "lists": {"user_id": "string", "item_id": "string", "rank": "int"},
    "texts": {"item_id": "string", "text": "string"},
    "vectors": {"item_id": "string", "vector": "array<float>"},
}


def read_columns(context: RunContext, source: ArmSource) -> DataFrame:
    """Return the columns an arm needs under our names, rows with a null left out.

    Raises:
        SourceError: the source cannot be read, or lacks a column.
    """
    where = f"evaluate.sources '{source.name}'"
    frame = _read(context, source, where)
    if source.layout == "trec":
        return _trec(frame).dropna()
    if source.layout == "wide":
        return _wide(frame, where).dropna()
    return _table(frame, source, where).dropna()


def _read(context: RunContext, source: ArmSource, where: str) -> DataFrame:
    if source.layout == "trec":
        options, kind = {}, "text"
    else:
        options = {"header": "true"} if source.format == "csv" else {}
        kind = source.format
    options |= {key: str(value) for key, value in source.options.items()}
    reader = context.spark.read.options(**options)
    try:
        if source.table:
            frame = reader.table(source.table)
        else:
            frame = reader.format(kind).load(source.path)
        frame.columns  # noqa: B018 - reads the schema, where a wrong path shows
    except Exception as error:
        # Spark's own errors differ between Classic and Connect; each is one sentence to the user.
        reason = redact(str(error).strip().partition("\n")[0])[:300]
        raise SourceError(f"{where}: cannot be read: {reason}") from error
    return frame


def _table(frame: DataFrame, source: ArmSource, where: str) -> DataFrame:
    """Return the needed columns; RecBole puts the type behind a name, as in `user_id:token`."""
    mapped = source.columns.model_dump()
    found = {name.partition(":")[0]: name for name in frame.columns}
    found |= {name: name for name in frame.columns}
    needed = NEEDED[source.holds]
    missing = [mapped[name] for name in needed if mapped[name] not in found]
    if missing:
        raise SourceError(
            f"{where}: lacks {', '.join(missing)} (it has {', '.join(frame.columns)}); name your "
            "columns under `columns`."
        )
    return frame.select(
        *(F.col(f"`{found[mapped[n]]}`").cast(kind).alias(n) for n, kind in needed.items())
    )


def _trec(frame: DataFrame) -> DataFrame:
    """Return lists from lines `user Q0 item rank score tag`, separated by white space."""
    part = F.split(F.trim("value"), r"\s+")
    return frame.select(
        part[0].alias("user_id"), part[2].alias("item_id"), part[3].cast("int").alias("rank")
    )


def _wide(frame: DataFrame, where: str) -> DataFrame:
    """Return lists from a row per user: the user first, then the items in order."""
    user, *places = frame.columns
    if not places:
        raise SourceError(f"{where}: expected a column of users and one per place, found {user}.")
    items = F.array(*(F.col(f"`{name}`").cast("string") for name in places))
    return frame.select(
        F.col(f"`{user}`").cast("string").alias("user_id"),
        F.posexplode(items).alias("at", "item_id"),
    ).select("user_id", "item_id", (F.col("at") + 1).alias("rank"))

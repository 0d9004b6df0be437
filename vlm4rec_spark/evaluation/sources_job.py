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
    options = {"header": "true"} if source.format == "csv" else {}
    options |= {key: str(value) for key, value in source.options.items()}
    reader = context.spark.read.options(**options)
    try:
        if source.table:
            frame = reader.table(source.table)
        else:
            frame = reader.format(source.format).load(source.path)
        names = frame.columns
    except Exception as error:
        # Spark's own errors differ between Classic and Connect; each is one sentence to the user.
        reason = redact(str(error).strip().partition("\n")[0])[:300]
        raise SourceError(f"{where}: cannot be read: {reason}") from error
    mapped = source.columns.model_dump()
    missing = [mapped[name] for name in NEEDED[source.holds] if mapped[name] not in names]
    if missing:
        raise SourceError(
            f"{where}: lacks {', '.join(missing)} (it has {', '.join(names)}); name your columns "
            "under `columns`."
        )
    wanted = [
        F.col(f"`{mapped[name]}`").cast(kind).alias(name)
        for name, kind in NEEDED[source.holds].items()
    ]
    return frame.select(*wanted).dropna()

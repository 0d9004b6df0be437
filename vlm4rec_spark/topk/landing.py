"""Results of expensive steps, written before they are merged: a merge reads its source twice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext


def landing(context: RunContext, name: str) -> Path:
    """Return where working files of this name are."""
    # Absolute, like the item matrix beside it: a server of Spark may run in another folder.
    root = Path(context.config.topk.index_path).absolute()
    return root / "landing" / context.names.schema / name


def landed(context: RunContext, df: DataFrame, name: str) -> DataFrame:
    """Write the frame below `topk.index_path` and return it read back."""
    folder = str(landing(context, name))
    df.write.mode("overwrite").parquet(folder)
    return context.spark.read.schema(df.schema).parquet(folder)

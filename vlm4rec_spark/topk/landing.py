"""Results of expensive steps, written before they are merged: a merge reads its source twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlm4rec_spark import delta

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.delta import MergeCounts
    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.table_spec import TableSpec


def landing(context: RunContext, name: str) -> Path:
    """Return where working files of this name are."""
    # Absolute, like the item matrix beside it: a server of Spark may run in another folder.
    root = Path(context.config.topk.index_path).absolute()
    return root / "landing" / context.names.schema / name


@dataclass(frozen=True)
class Note:
    """Says that working files were made in this run, for these facts, so that they serve again."""

    path: Path
    made_for: str

    @staticmethod
    def of(context: RunContext, name: str, *facts: object) -> Note:
        """Return the note beside working files of this name; it need not be written yet."""
        made_for = json.dumps([context.run_id, *facts], default=str)
        return Note(landing(context, f"{name}.json"), made_for)

    def read(self) -> str | None:
        """Return what was written, None where it was for another run or other facts."""
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return str(found["value"]) if found["made_for"] == self.made_for else None

    def write(self, value: str) -> None:
        """Say that the files are there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"made_for": self.made_for, "value": value})
        self.path.write_text(text, "utf-8")

    def take_back(self) -> None:
        """Say that the files are not there, or no longer whole."""
        self.path.unlink(missing_ok=True)


def landed(context: RunContext, df: DataFrame, name: str) -> DataFrame:
    """Write the frame below `topk.index_path` and return it read back."""
    folder = str(landing(context, name))
    df.write.mode("overwrite").parquet(folder)
    return context.spark.read.schema(df.schema).parquet(folder)


def landed_in(context: RunContext, df: DataFrame, spec: TableSpec) -> MergeCounts:
    """Bring a table to the rows of a frame that is dear to make; it is made once."""
    return delta.merge_on_key(
        context.spark,
        df,
        spec,
        context.names,
        delete_missing=True,
        keep=lambda rows: landed(context, rows, spec.name),
    )

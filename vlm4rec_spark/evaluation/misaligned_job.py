"""The control that asks the model: what it says to a prompt about something else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.embeddings.plan import item_texts
from vlm4rec_spark.errors import EvaluationError
from vlm4rec_spark.tables import DESCRIPTIONS, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext


def misaligned_texts(context: RunContext) -> DataFrame | None:
    """Return item_id, space, text of the arm `misaligned`; None where no such run is configured.

    Raises:
        EvaluationError: the schema has no descriptions, or they are of the catalogue's own prompt.
    """
    schema = context.config.evaluate.misaligned_schema
    if schema is None:
        return None
    spark, other = context.spark, replace(context.names, schema=schema)
    if not delta.table_exists(spark, DESCRIPTIONS, other):
        raise _wrong(schema, "no descriptions")
    items, descriptions = (delta.read(spark, spec, other) for spec in (ITEMS, DESCRIPTIONS))
    own = delta.read(spark, ITEMS, context.names)
    # A request is the prompt, the pictures and the model: an equal one was not asked otherwise.
    if not items.join(own, ["item_id", "request_key"], "left_semi").isEmpty():
        raise _wrong(schema, "descriptions by the catalogue's own prompt")
    # Its attributes alone: where the model has a free hand it may name the product after all.
    sure = context.config.describe.min_confidence
    words = item_texts(items, descriptions, ("attributes",), sure).where("text IS NOT NULL")
    return words.select("item_id", F.lit("misaligned").alias("space"), "text")


def _wrong(schema: str, found: str) -> EvaluationError:
    return EvaluationError(
        f"evaluate.misaligned_schema: '{schema}' holds {found}. Run the catalog job with "
        f"--set tables.schema={schema} --set describe.attributes=photograph first."
    )

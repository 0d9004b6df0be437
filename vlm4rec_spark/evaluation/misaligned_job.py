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

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext


def misaligned_texts(context: RunContext) -> DataFrame | None:
    """Return item_id, space, text of the arm `misaligned`; None where no such run is configured.

    Raises:
        EvaluationError: the schema has no descriptions, or they are of the catalogue's own prompt.
    """
    schema = context.config.evaluate.misaligned_schema
    if schema is None:
        return None
    other = replace(context.names, schema=schema)
    theirs = _prompts(context, other)
    if not theirs or theirs & _prompts(context, context.names):
        found = "descriptions by the catalogue's own prompt" if theirs else "no descriptions"
        raise EvaluationError(
            f"evaluate.misaligned_schema: '{schema}' holds {found}. Run the catalog job with "
            f"--set tables.schema={schema} --set describe.attributes=photograph first."
        )
    items, descriptions = (delta.read(context.spark, spec, other) for spec in (ITEMS, DESCRIPTIONS))
    # Its attributes alone: where the model has a free hand it may name the product after all.
    words = item_texts(items, descriptions, ("attributes",)).where("text IS NOT NULL")
    return words.select("item_id", F.lit("misaligned").alias("space"), "text")


def _prompts(context: RunContext, names: TableNames) -> set[str]:
    """Return the versions of the prompts that the items' descriptions answer."""
    if not delta.table_exists(context.spark, DESCRIPTIONS, names):
        return set()
    items, descriptions = (delta.read(context.spark, spec, names) for spec in (ITEMS, DESCRIPTIONS))
    used = descriptions.where("status = 'ok'").join(items, "request_key", "left_semi")
    found = used.select("prompt_version").dropna().distinct().collect()
    return {row["prompt_version"] for row in found}

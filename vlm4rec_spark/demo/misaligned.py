"""The demo's control `misaligned`: the model describes every item by the other shop's prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vlm4rec_spark import delta
from vlm4rec_spark.config_models import AttributesByCategory
from vlm4rec_spark.demo.evidence import changes
from vlm4rec_spark.descriptions.report import FAILED, UNDER_WAY
from vlm4rec_spark.pipeline import Pipeline
from vlm4rec_spark.tables import RUNS

if TYPE_CHECKING:
    from vlm4rec_spark.config import Config
    from vlm4rec_spark.runs import RunContext, RunReport


def describe_misaligned(pipeline: Pipeline, catalog: RunReport) -> RunReport | None:
    """Describe the catalogue once more with the wrong prompt, where something has changed.

    A shop would take `describe.attributes=photograph`; the demo's small model has learnt two
    prompts, for clothes and for homes, and none about photographs. So a dress is described as
    furniture is: wrong in kind, room and use, though its colour is still seen.
    """
    context = pipeline.context
    config, schema = context.config, context.config.evaluate.misaligned_schema
    if schema is None or (not changes([catalog]) and _is_described(context, schema)):
        return None
    return Pipeline(context.spark, with_wrong_prompt(config, schema)).describe()


def _is_described(context: RunContext, schema: str) -> bool:
    """Tell whether an earlier run came to its end."""
    other = replace(context.names, schema=schema)
    if not delta.table_exists(context.spark, RUNS, other):
        return False
    rows = delta.read(context.spark, RUNS, other).where("stage = 'describe'")
    where = rows["bottleneck"]
    return not rows.where((where != UNDER_WAY) & ~where.startswith(FAILED)).isEmpty()


def with_wrong_prompt(config: Config, schema: str) -> Config:
    """Return the configuration with the two attribute files swapped and tables elsewhere.

    Raises:
        TypeError: the attribute files are not given by category.
    """
    known = config.describe.attributes
    if not isinstance(known, AttributesByCategory):
        raise TypeError(f"expected attribute files by category, found '{known}'")
    (other,) = set(known.categories.values())
    swapped = AttributesByCategory(
        default=other, categories=dict.fromkeys(known.categories, known.default)
    )
    changed = {
        "tables": config.tables.model_copy(update={"schema_name": schema}),
        "describe": config.describe.model_copy(update={"attributes": swapped}),
    }
    return config.model_copy(update=changed)

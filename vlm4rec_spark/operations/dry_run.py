"""What a job would do now: counted from sources and tables; nothing is written or sent."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pyarrow as pa

from vlm4rec_spark import delta
from vlm4rec_spark.catalog import plan as catalog_plan
from vlm4rec_spark.catalog.sources import (
    count_ids,
    explode_pictures,
    read_items,
    read_source,
    unique,
)
from vlm4rec_spark.descriptions import plan as descriptions_plan
from vlm4rec_spark.embeddings import plan as embeddings_plan
from vlm4rec_spark.embeddings.encoders import encoder_spec
from vlm4rec_spark.evaluation import items_job, split
from vlm4rec_spark.profiles import plan as profiles_plan
from vlm4rec_spark.runs import RunReport
from vlm4rec_spark.spark_errors import in_our_words
from vlm4rec_spark.tables import (
    DESCRIPTIONS,
    DESCRIPTIONS_LOG,
    EMBEDDINGS,
    ITEM_VECTORS,
    ITEMS,
    TableSpec,
)
from vlm4rec_spark.topk.rule_checks import check_facets, check_rules

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext

DRY = "dry run: nothing was written"


def catalog(context: RunContext) -> RunReport:
    """Count what the catalog job would take in, and what it already has to do.

    Returns:
        counts: `catalog.` rows, null_ids, duplicate_ids, items, pictures (in the source), new,
            changed, left; `descriptions.pending` and `embeddings.pending` of the items the tables
            hold now. What new and changed items add to these shows once pictures are read:
            `vlm4rec estimate` does that.

    Raises:
        SourceError: the source cannot be read or lacks a mapped column.
    """
    started = time.monotonic()
    with in_our_words():
        # Without our tables' names: a source with a watermark is read whole, and not kept.
        source = read_items(context.spark, context.config)
        counts = count_ids(source)
        source = unique(source, has_duplicates=counts["duplicate_ids"] > 0)
        pictures = explode_pictures(source).where("uri IS NOT NULL OR content IS NOT NULL")
        counts["pictures"] = pictures.count()
        counts |= _changes(context, source)
        named = {f"catalog.{name}": count for name, count in counts.items()}
        named["descriptions.pending"] = _requests(context)
        named["embeddings.pending"] = _texts(context)
    return RunReport("catalog_job", named, {}, time.monotonic() - started, DRY)


def recommend(context: RunContext) -> RunReport:
    """Check the rules, and count whom and what the recommend job would find.

    Returns:
        counts: `profiles.` rows, rows left out by problem, events, users; `topk.items` with a
            vector.

    Raises:
        ConfigError: a rule is wrong.
        SourceError: the interactions cannot be read or lack a column.
    """
    started = time.monotonic()
    check_rules(context.config)
    with in_our_words():
        judged = _judged(context)
        counts = profiles_plan.count_problems(judged, context.config.profiles)
        counts["users"] = judged.where("user_id IS NOT NULL").select("user_id").distinct().count()
        named = {f"profiles.{name}": count for name, count in counts.items()}
        space = context.config.embed.serve_space
        vectors = _stored(context, ITEM_VECTORS).where("status = 'ok'")
        named["topk.items"] = vectors.where(vectors["space"] == space).count()
    return RunReport("recommend_job", named, {}, time.monotonic() - started, DRY)


def evaluate(context: RunContext) -> RunReport:
    """Split the log, and count what becomes of its rows.

    Returns:
        counts: rows_FATE of `evaluation.fates.FATES`, users with something to test on, arms asked.

    Raises:
        ConfigError: an arm has a knob on an attribute that does not exist.
        EvaluationError: the log holds no usable event.
        SourceError: the interactions cannot be read or lack a column.
    """
    started = time.monotonic()
    check_facets(context.config)
    with in_our_words():
        judged = _judged(context)
        share = context.config.evaluate.split.test_share
        rule = items_job.split_rule(context, judged, "test", share)
        steps = split.steps(split.with_fates(judged, rule))
    counts = {f"rows_{step.fate}": step.rows for step in steps}
    counts["users"] = next((step.users for step in steps if step.fate == "test"), 0)
    counts["arms"] = len(context.config.evaluate.arms)
    return RunReport("evaluate_job", counts, {}, time.monotonic() - started, DRY)


def _judged(context: RunContext) -> DataFrame:
    events = read_source(context.spark, context.config.sources.interactions)
    return profiles_plan.events(events, _stored(context, ITEMS), context.config.profiles)


def _changes(context: RunContext, source: DataFrame) -> dict[str, int]:
    now = datetime.now(timezone.utc)
    incoming, stored = catalog_plan.clean_items(source), _stored(context, ITEMS)
    changes = catalog_plan.item_changes(incoming, stored, now).groupBy("change").count().collect()
    found = {row["change"]: int(row["count"]) for row in changes}
    return {name: found.get(name, 0) for name in ("new", "changed", "left")}


def _requests(context: RunContext) -> int:
    settled = descriptions_plan.settled(_stored(context, DESCRIPTIONS), context.config.describe)
    items, log = (_stored(context, spec) for spec in (ITEMS, DESCRIPTIONS_LOG))
    return descriptions_plan.pending(items, settled, log).count()


def _texts(context: RunContext) -> int:
    config = context.config
    texts = embeddings_plan.item_texts(
        _stored(context, ITEMS),
        _stored(context, DESCRIPTIONS),
        config.embed.texts,
        config.describe.min_confidence,
    )
    known = _stored(context, EMBEDDINGS)
    return embeddings_plan.pending(texts, known, encoder_spec(config).identity).count()


def _stored(context: RunContext, spec: TableSpec) -> DataFrame:
    """Return the table; an empty frame where it is missing, which is not made."""
    if delta.table_exists(context.spark, spec, context.names):
        return context.spark.table(context.names.qualified(spec))
    return context.spark.createDataFrame(
        pa.Table.from_pylist([], schema=spec.arrow_schema()), spec.spark_ddl()
    )

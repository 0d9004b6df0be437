"""Writing lists and neighbours: all of them, or those that can have changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark import delta
from vlm4rec_spark.delta_lists import replace_lists
from vlm4rec_spark.refresh import plan as refresh_plan
from vlm4rec_spark.refresh.job import moved_names, writing
from vlm4rec_spark.refresh.lists import WHOLE
from vlm4rec_spark.tables import RECOMMENDATIONS, SIMILAR_ITEMS
from vlm4rec_spark.topk import plan
from vlm4rec_spark.topk.landing import landed, landed_in

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.refresh.job import Start
    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.table_spec import TableSpec

ITEMS_A_TASK = 16_384


@dataclass(frozen=True)
class Work:
    """What is to be written, and from what."""

    context: RunContext
    spec: plan.SearchSpec
    start: Start
    n_users: int

    @property
    def similar(self) -> plan.SearchSpec:
        """How neighbours are found."""
        k = self.context.config.topk.similar_k
        return replace(self.spec, lists=replace(self.spec.lists, k=k))


def write_all(work: Work) -> tuple[dict[str, int], DataFrame | None]:
    """Write every list; return counts, and user_id and floor of each where a run can go on."""
    context, names = work.context, work.context.names
    made = plan.recommendations(work.start.history, work.n_users, work.spec, _found(work))
    floors = None
    writing(context, work.start.stage)
    if context.config.topk.refresh == "full":
        merged = landed_in(context, made, RECOMMENDATIONS)
    else:  # files keep the floors, which the table does not
        made = landed(context, made, RECOMMENDATIONS.name)
        floors = refresh_plan.floors(made)
        merged = delta.merge_on_key(
            context.spark, made, RECOMMENDATIONS, names, delete_missing=True
        )
    stored = delta.read(context.spark, RECOMMENDATIONS, names)
    counts = {
        **_counts(stored, work.spec.lists.k),
        "list_rows_changed": merged.changed,
        "similar_rows_changed": _write_all_similar(work),
    }
    return counts, floors


def _found(work: Work) -> DataFrame | None:
    """Return what the shards have for the lists; None: there is but one."""
    if work.spec.shards == 1:
        return None
    asked = plan.questions(work.start.history, work.n_users, work.spec)
    return plan.notes(landed(work.context, asked, "questions"), work.spec)


def _write_all_similar(work: Work) -> int:
    context, n = work.context, len(work.spec.open())
    items = context.spark.range(0, n, 1, max(1, -(-n // ITEMS_A_TASK)))
    rows = plan.similar_items(items, work.similar)
    return landed_in(context, rows, SIMILAR_ITEMS).changed


def write_changed(work: Work) -> tuple[dict[str, int], DataFrame]:
    """Write the lists that can have changed; return counts, and the floors of those made anew."""
    context, spec, start = work.context, work.spec, work.start
    names = moved_names(start)
    made = refresh_plan.lists(start.history, work.n_users, spec, names)
    made = landed(context, made, RECOMMENDATIONS.name)
    writing(context, start.stage)
    stored = delta.read(context.spark, RECOMMENDATIONS, context.names)
    changed = _replace(work, made, start.lost, RECOMMENDATIONS, spec.lists.k)
    counts = {
        "users": work.n_users,
        "list_rows": stored.count(),
        "lists_made_anew": made.where(WHOLE).select("user_id").distinct().count(),
        "lists_entered": made.where(f"NOT {WHOLE}").select("user_id").distinct().count(),
        "list_rows_changed": changed,
        "similar_rows_changed": _write_changed_similar(work, names),
    }
    return counts, refresh_plan.floors(made.where(WHOLE))


def _write_changed_similar(work: Work, names: refresh_plan.MovedNames) -> int:
    context, k, start = work.context, work.similar.lists.k, work.start
    n_allowed = int(work.spec.open().allowed[0].sum())
    # Lists that are not full have no last place to compare with; so small a catalogue is cheap.
    if n_allowed - len(start.changes.arrived) <= k:
        return _write_all_similar(work)
    if not start.changes.count:
        return 0
    stored = delta.read(context.spark, SIMILAR_ITEMS, context.names)
    renewed = work.spec.open().ids.take(pa.array(start.changes.renewed))
    renewed = _ids(context, renewed).withColumn("floor", F.lit(None).cast("double"))
    floors = stored.where(F.col("rank") == k).select(
        "target_item_id", F.col("score").alias("floor")
    )
    targets = floors.join(renewed, "target_item_id", "left_anti").unionByName(renewed)
    made = landed(
        context, refresh_plan.similar_items(targets, work.similar, names), SIMILAR_ITEMS.name
    )
    return _replace(work, made, _ids(context, start.changes.gone), SIMILAR_ITEMS, k)


def _ids(context: RunContext, ids: pa.Array) -> DataFrame:
    return delta.ids_frame(context.spark, ids, "target_item_id")


def _replace(work: Work, made: DataFrame, lost: DataFrame, spec: TableSpec, k: int) -> int:
    context = work.context
    stored = delta.read(context.spark, spec, context.names)
    lists = refresh_plan.replacements(made, lost, stored, spec, k)
    lists = landed(context, lists, f"{spec.name}-lists")
    return replace_lists(lists, spec, context.names, context.run_id).changed


def _counts(lists: DataFrame, k: int) -> dict[str, int]:
    per_user = lists.groupBy("user_id").agg(F.count("*").alias("n"), F.first("arm").alias("arm"))
    row = per_user.agg(
        F.count("*").alias("users"),
        F.count_if(F.col("n") >= k).alias("users_with_full_lists"),
        F.count_if(F.col("arm") == "popular").alias("popular_users"),
        F.coalesce(F.sum("n"), F.lit(0)).alias("list_rows"),
    ).first()
    return {name: int(value) for name, value in row.asDict().items()} if row else {}

"""Frames in, frames out: item pairs, lists of all arms, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.evaluation.catalogue import load_catalogue
from vlm4rec_spark.evaluation.measure import ACCURACY, MeasureSpec, measure
from vlm4rec_spark.evaluation.ranking import LISTS_DDL, RankSpec, admitted, ranked
from vlm4rec_spark.profiles.plan import blocks
from vlm4rec_spark.profiles.vectors import histories

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

HISTORY = ("user_id", "item_id", "weight", "seen")
PAIRS_HISTORY = 100
"""Items of one user that item-kNN, EASE and smoothing learn from, the heaviest first."""


def pairs(history: DataFrame, n_users: int, folder: str) -> DataFrame:
    """Return left, right, users, shared: what `models.Pairs` holds, from rows of `history`.

    Each block of users adds up its own pairs before anything is shuffled.
    """
    counted = blocks(history.where("weight > 0"), n_users).select("block", *HISTORY)
    parts = counted.groupBy("block").applyInArrow(
        _pairs_of_block(folder), "left LONG, right LONG, users DOUBLE, shared DOUBLE"
    )
    return parts.groupBy("left", "right").agg(
        F.sum("users").alias("users"), F.round(F.sum("shared"), 9).alias("shared")
    )


def _pairs_of_block(folder: str) -> Callable[[pa.Table], pa.Table]:
    def build(table: pa.Table) -> pa.Table:
        catalogue = load_catalogue(folder)
        block, n = histories(table, catalogue.rows_of(table["item_id"])), len(catalogue.items)
        keys, shares = [], []
        for user in range(len(block.users)):
            part = block.of(user)
            heaviest = np.argsort(-block.weights[part], kind="stable")[:PAIRS_HISTORY]
            rows = block.rows[part][heaviest]
            keys.append((rows[:, None] * n + rows[None, :]).ravel())
            shares.append(np.full(len(rows) ** 2, 1.0 / max(len(rows), 1)))
        key, place = np.unique(np.concatenate(keys), return_inverse=True)
        return pa.table(
            {
                "left": key // n,
                "right": key % n,
                "users": np.bincount(place, minlength=len(key)).astype(np.float64),
                "shared": np.bincount(place, np.concatenate(shares), len(key)),
            }
        )

    return build


def lists(history: DataFrame, n_users: int, spec: RankSpec) -> DataFrame:
    """Return the lists of all arms in all views, from rows of `history`."""
    return (
        blocks(history, n_users)
        .select("block", *HISTORY)
        .groupBy("block")
        .applyInArrow(lambda table: ranked(table, spec), LISTS_DDL)
    )


def foreign_lists(
    arm: str, given: DataFrame, history: DataFrame, n_users: int, spec: RankSpec
) -> DataFrame:
    """Return another tool's lists as an arm: user_id, item_id, rank, under the same masks."""
    own = blocks(history, n_users).select("block", *HISTORY).groupBy("block")
    theirs = blocks(given, n_users).select("block", "user_id", "item_id", "rank").groupBy("block")

    def build(history: pa.Table, foreign: pa.Table) -> pa.Table:
        return admitted(arm, foreign, history, spec)

    return own.cogroup(theirs).applyInArrow(build, LISTS_DDL)


def measured(lists: DataFrame, truth: DataFrame, n_users: int, spec: MeasureSpec) -> DataFrame:
    """Return the rows of `measure.measure` for all blocks; only ids and places travel."""
    kinds = {pa.string(): "STRING", pa.int64(): "LONG", pa.float64(): "DOUBLE"}
    ddl = ", ".join(f"`{field.name}` {kinds[field.type]}" for field in spec.schema)

    def build(lists: pa.Table, truth: pa.Table) -> pa.Table:
        if not len(truth):
            return spec.schema.empty_table()
        return measure(lists, truth, int(truth["block"][0].as_py()), spec)

    return (
        blocks(lists, n_users).groupBy("block")
        .cogroup(blocks(truth, n_users).groupBy("block"))
        .applyInArrow(build, ddl)
    )  # fmt: skip


def per_user(measured: DataFrame, spec: MeasureSpec, run_id: str) -> DataFrame:
    """Return rows of `metrics_per_user`."""
    named = F.create_map(
        *(part for m in spec.metrics for part in (F.lit(f"{m}@{spec.k}"), F.col(f"`{m}`")))
    )
    return measured.where("slice = 'everyone'").select(
        F.lit(run_id).alias("run_id"),
        "arm",
        "pool",
        "variants",
        "user_id",
        F.map_filter(named, lambda _, value: value.isNotNull()).alias("metrics"),
    )


def sums(measured: DataFrame) -> DataFrame:
    """Return the accuracy of every arm, view, segment and unit: n and sums over its users."""
    keys = ("arm", "pool", "variants", "slice", "segment", "unit")
    return measured.groupBy(*keys).agg(
        F.sum("n").alias("n"), *(F.sum(f"`{m}`").alias(m) for m in ACCURACY)
    )


def means(measured: DataFrame, spec: MeasureSpec) -> DataFrame:
    """Return the mean of every metric beyond accuracy, over the users who have a value."""
    beyond = [m for m in spec.metrics if m not in ACCURACY]
    return (
        measured.where("slice = 'everyone'")
        .groupBy("arm", "pool", "variants")
        .agg(F.sum("n").alias("n"), *(F.avg(f"`{m}`").alias(m) for m in beyond))
    )


def exposure(lists: DataFrame) -> DataFrame:
    """Return how often each item is listed: arm, pool, variants, item_id, count."""
    return lists.groupBy("arm", "pool", "variants", "item_id").count()


MORE_TEXTS = ("catalog", "misaligned")


def more_texts(items: DataFrame, images: DataFrame) -> DataFrame:
    """Return item_id, space, text of the texts that no description takes part in.

    `catalog`: what the catalogue says apart from the title: category, brand, free attributes.
    `misaligned`: the picture's file instead of what it shows, a control: a text that describes
    something else must not recommend (`misaligned_job` has the one that asks the model).
    """
    free = F.array_sort(
        F.transform(
            F.map_entries("attributes"), lambda e: F.concat(e["key"], F.lit(": "), e["value"])
        )
    )
    said = F.concat_ws(
        "; ",
        F.concat(F.lit("category: "), "category"),
        F.concat(F.lit("brand: "), "brand"),
        F.coalesce(free, F.array().cast("array<string>")),
    )
    shape = (
        F.when(F.col("width") > F.col("height"), "landscape")
        .when(F.col("width") < F.col("height"), "portrait")
        .otherwise("square")
    )
    file = F.format_string("A %s picture, %d pixels wide and %d high.", shape, "width", "height")
    pictures = images.where("status = 'ok' AND position = 0")
    return (
        items.select("item_id", F.lit("catalog").alias("space"), said.alias("text"))
        .unionByName(
            pictures.select("item_id", F.lit("misaligned").alias("space"), file.alias("text"))
        )
        .where("trim(text) <> ''")
    )


def with_hashes(texts: DataFrame) -> DataFrame:
    """Add text_sha256, by which vectors are cached."""
    return texts.select("item_id", "space", "text", F.sha2("text", 256).alias("text_sha256"))


def vectors_of(texts: DataFrame, embeddings: DataFrame, encoder: str) -> DataFrame:
    """Return item_id, space, vector: what one encoder made of the texts."""
    known = embeddings.where(F.col("encoder") == encoder).select("text_sha256", "vector")
    found = texts.where("text_sha256 IS NOT NULL").join(known, "text_sha256")
    return found.select("item_id", "space", "vector").dropDuplicates(["item_id", "space"])

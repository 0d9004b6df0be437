"""The evaluation on Spark: it finds what was planted, and every arm meets the same test."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from tests import evaluation_shop as shop
from vlm4rec_spark import delta
from vlm4rec_spark.config_evaluation import ArmSource
from vlm4rec_spark.errors import EvaluationError
from vlm4rec_spark.evaluation import job, split
from vlm4rec_spark.evaluation.items_job import prepare, read_pairs
from vlm4rec_spark.evaluation.misaligned_job import misaligned_texts
from vlm4rec_spark.evaluation.sources_job import read_columns
from vlm4rec_spark.evaluation.spaces_job import item_space_texts
from vlm4rec_spark.profiles.job import judged_events
from vlm4rec_spark.tables import DESCRIPTIONS, ITEMS, METRICS, METRICS_PER_USER

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext

Found = dict[tuple[str, str], dict[str, float]]


def everyone(context: RunContext, metric: str = "NDCG@10") -> Found:
    """Return (arm, pool) -> row of the whole test, variants kept."""
    rows = delta.read(context.spark, METRICS, context.names).where(
        (F.col("metric") == metric) & (F.col("slice") == "everyone") & (F.col("variants") == "kept")
    )
    return {(row["arm"], row["pool"]): row.asDict() for row in rows.collect()}


def test_words_find_new_items_and_what_cannot_know_them_scores_zero(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    lists = pa.table(
        {
            "user": [f"u{u:03d}" for u in range(shop.N_USERS) for _ in range(3)],
            "item": [i for _ in range(shop.N_USERS) for i in ("i50", "nobody knows", "i50")],
            "place": [1, 2, 3] * shop.N_USERS,
        }
    )
    pq.write_table(lists, tmp_path / "theirs.parquet")
    context = shop.make_context(
        spark, names, tmp_path,
        "evaluate.profile_arms={last_2: {max_history: 2}, "
        "kindless: {facets: {style: 0, material: 0}}}",
        "evaluate.sources=[{name: theirs, holds: lists, format: parquet, path: "
        f"{tmp_path}/theirs.parquet, columns: {{user_id: user, item_id: item, rank: place}}}}]",
    )  # fmt: skip
    shop.fill(context)
    report = job.run(context)
    found = everyone(context)
    assert found["caption", "cold"]["difference_low"] > 0
    assert found["caption", "cold"]["p_holm"] < 0.05
    for arm in ("popular", "recent_popular", "item_knn", "ease"):
        assert found[arm, "cold"]["value"] == 0.0
        assert found[arm, "all"]["value"] > 0.0
    assert found["shuffled", "cold"]["high"] < found["caption", "cold"]["low"]
    assert found["random", "cold"]["high"] < found["caption", "cold"]["low"]
    assert found["theirs", "cold"]["value"] < found["caption", "cold"]["value"]
    assert ("last_2", "all") in found
    assert found["kindless", "cold"]["high"] < found["caption", "cold"]["low"]
    assert {row["n_users"] for (_, pool), row in found.items() if pool == "all"} == {
        report.counts["users"]
    }

    dropped = sum(count for name, count in report.counts.items() if name.startswith("rows_"))
    assert dropped == len(shop.log_rows())
    per_user = delta.read(spark, METRICS_PER_USER, names)
    mean = per_user.where("arm = 'caption' AND pool = 'all' AND variants = 'kept'").agg(
        F.avg(F.col("metrics")["NDCG@10"]).alias("mean")
    )
    assert mean.collect()[0]["mean"] == pytest.approx(found["caption", "all"]["value"])
    text = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "caption against title, new items alone" in text
    assert "too few for any claim" in text
    html = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "<svg" in html
    assert "http" not in html

    with pytest.raises(EvaluationError, match="has read its test already"):
        job.run(context)


@pytest.fixture(scope="module")
def with_items(
    spark: SparkSession, shared_names: TableNames, tmp_path_factory: pytest.TempPathFactory
) -> RunContext:
    """Return the context of a shop of which there are the log and the items alone."""
    rows = [shop.item_row(n) for n in range(shop.N_ITEMS)]
    shop.write(spark, shared_names, ITEMS, rows)
    return shop.make_context(spark, shared_names, tmp_path_factory.mktemp("shop"))


def test_every_row_of_the_log_meets_exactly_one_fate(
    spark: SparkSession, with_items: RunContext
) -> None:
    context = with_items
    judged = judged_events(context).where("user_id < 'u003'")
    odd = [
        shop.event(0, 1, 85), shop.event(0, 1, 86), shop.event(0, 1, 10), shop.event(77, 2, 90),
        {**shop.event(0, 4, 90), "event_type": "stare"},
    ]  # fmt: skip
    more = spark.createDataFrame(pa.Table.from_pylist(odd)).select(
        "*",
        F.when(F.col("event_type") == "view", 1.0).otherwise(0.0).alias("weight"),
        F.lit(None).cast("string").alias("problem"),
    )
    rule = split.SplitRule("time", context.config.evaluate.split.cut, 1, None, None)
    whole = judged.unionByName(more, allowMissingColumns=True)
    fated = split.with_fates(whole, rule)
    steps = {step.fate: step.rows for step in split.steps(fated)}
    assert sum(steps.values()) == whole.count()
    assert steps["not_relevant"] == 1
    assert steps["no_history"] == 1
    assert steps["seen_before"] >= 2
    train = fated.where("fate = 'train'").agg(F.max("timestamp").alias("t")).collect()[0]["t"]
    test = fated.where("fate = 'test'").agg(F.min("timestamp").alias("t")).collect()[0]["t"]
    assert train < test


def test_nothing_that_happens_after_the_cut_reaches_what_lists_are_made_from(
    with_items: RunContext,
) -> None:
    context = with_items
    judged = judged_events(context)
    later = F.col("timestamp") >= F.lit(context.config.evaluate.split.cut)
    altered = judged.withColumn("item_id", F.when(later, F.lit("i59")).otherwise(F.col("item_id")))
    learned = []
    for run_id, rows in (("one", judged), ("other", altered)):
        stage = prepare(dataclasses.replace(context, run_id=run_id), rows, "test", 0.2)
        had = stage.history(context.config.profiles).select("user_id", "item_id", "weight", "seen")
        by_user: dict[str, list[tuple[object, ...]]] = {}
        for row in had.orderBy("user_id", "item_id").collect():
            by_user.setdefault(row["user_id"], []).append(tuple(row))
        learned.append((by_user, stage.catalogue.items.to_pylist(), read_pairs(stage)))
    (first, items, pairs), (second, other_items, other_pairs) = learned
    both = set(first) & set(second)
    assert len(both) > shop.N_USERS / 2
    assert all(first[user] == second[user] for user in both)
    assert items == other_items
    assert np.array_equal(pairs.users, other_pairs.users)


def test_the_last_n_split_tests_the_last_events_of_each_user(with_items: RunContext) -> None:
    rule = split.SplitRule("last_n", None, 1, None, None)
    fated = split.with_fates(judged_events(with_items), rule)
    rows = fated.groupBy("user_id").agg(
        F.max(F.when(F.col("fate") == "train", F.col("timestamp"))).alias("train"),
        F.min(F.when(F.col("fate") != "train", F.col("timestamp"))).alias("after"),
        F.count_if(F.col("fate") != "train").alias("n"),
    )
    assert all(row["train"] < row["after"] and row["n"] == 1 for row in rows.collect())


def test_the_misaligned_arm_is_what_a_prompt_about_something_else_made_the_model_say(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    other = dataclasses.replace(names, schema=f"{names.schema}_photograph")
    context = shop.make_context(
        spark, names, tmp_path, f"evaluate.misaligned_schema={other.schema}",
        "describe.min_confidence=0.5",
    )  # fmt: skip
    with pytest.raises(EvaluationError, match="holds no descriptions"):
        misaligned_texts(context)
    said: list[object] = [("light", {"value": "soft", "confidence": None})]
    answer: shop.Row = {"request_key": "p1", "status": "ok", "description": "a blue silk dress"}
    said.append(("lens", {"value": "wide", "confidence": 0.1}))
    shop.write(spark, other, DESCRIPTIONS, [{**answer, "attributes": said}])
    for where in (names, other):
        shop.write(spark, where, ITEMS, [shop.item_row(1)])
    with pytest.raises(EvaluationError, match="descriptions by the catalogue's own prompt"):
        misaligned_texts(context)
    shop.write(spark, other, ITEMS, [{**shop.item_row(1), "request_key": "p1"}])
    texts = misaligned_texts(context)
    assert texts is not None
    assert [tuple(row) for row in texts.collect()] == [("i01", "misaligned", "light: soft")]
    # What the model was not sure of is in no arm, as it is in no vector of the catalogue.
    unsure: list[object] = [("style", {"value": "silk", "confidence": 0.1}), *said]
    own = {**answer, "request_key": "r1", "attributes": unsure}
    shop.write(spark, names, DESCRIPTIONS, [own])
    attributes = item_space_texts(context).where("space = 'attributes'").collect()
    assert [row["text"] for row in attributes] == ["light: soft"]
    spark.sql(f"DROP SCHEMA {other.qualified_schema} CASCADE")


@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("trec", "u1 Q0 i7 1 9.5 tag\nu1\tQ0\ti8\t2\t9.1\ttag\n"),
        ("wide", "id\ttop_0\ttop_1\nu1\ti7\ti8\n"),
        ("table", "user_id:token\titem_id:token\trank:float\nu1\ti7\t1\nu1\ti8\t2\n"),
    ],
    ids=["a TREC run", "MMRec's top k", "RecBole's columns"],
)
def test_lists_of_other_tools_are_read_as_they_write_them(
    layout: str, file: str, context: RunContext, tmp_path: Path
) -> None:
    path = tmp_path / "theirs"
    path.write_text(file)
    source = ArmSource.model_validate(
        {"name": "theirs", "holds": "lists", "layout": layout, "format": "csv", "path": str(path),
         "options": {} if layout == "trec" else {"sep": "\t"}}
    )  # fmt: skip
    rows = read_columns(context, source).orderBy("rank").collect()
    assert [tuple(row) for row in rows] == [("u1", "i7", 1), ("u1", "i8", 2)]


def test_ndcg_is_that_of_the_ranking_evaluator_of_spark(spark: SparkSession) -> None:
    from pyspark.ml.evaluation import RankingEvaluator

    from tests.golden.check_data import K, check_data
    from tests.unit.test_evaluation_accuracy import of_tested, scores

    _, test, lists = check_data()
    users = sorted({user for user, _ in test})
    ranked: dict[int, list[float]] = {user: [] for user in users}
    for user, item, _ in sorted(lists, key=lambda row: (row[0], row[2])):
        if user in ranked:
            ranked[user].append(float(item))
    wanted = {user: [float(i) for u, i in test if u == user] for user in users}
    rows = [(ranked[user], wanted[user]) for user in users]
    frame = spark.createDataFrame(rows, "prediction array<double>, label array<double>")
    ours = scores(lists, test, K, 400, 150)
    evaluators = {
        "NDCG": RankingEvaluator(metricName="ndcgAtK", k=K),
        "MAP": RankingEvaluator(metricName="meanAveragePrecisionAtK", k=K),
        "Precision": RankingEvaluator(metricName="precisionAtK", k=K),
        "Recall": RankingEvaluator(metricName="recallAtK", k=K),
    }
    for name, evaluator in evaluators.items():
        found = evaluator.evaluate(frame)
        assert of_tested(ours[name], test) == pytest.approx(found, abs=1e-6), name

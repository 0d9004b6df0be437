"""The recommend job on Spark: lists from a log and item vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from tests.recommend_shop import (
    ITEMS_IN_SHOP,
    NOW,
    USERS,
    Lists,
    Row,
    fill_shop,
    lists,
    log_rows,
    make_context,
    recommend,
    write,
)
from tests.shop_log import write_log
from tests.unit.topk_pieces import history, item_table, unit
from vlm4rec_spark import delta
from vlm4rec_spark.errors import ConfigError, RecallError, SourceError
from vlm4rec_spark.pipeline import Pipeline
from vlm4rec_spark.tables import (
    COMPLEMENTS,
    DESCRIPTIONS,
    ITEMS,
    PROFILES,
    RECOMMENDATIONS,
    RUNS,
    SIMILAR_ITEMS,
)
from vlm4rec_spark.topk import audit, plan
from vlm4rec_spark.topk import job as topk_job
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.facts_job import searched_items
from vlm4rec_spark.topk.lists import ListSpec
from vlm4rec_spark.topk.rule_checks import search_rules
from vlm4rec_spark.topk.snapshot import Beside, load_snapshot
from vlm4rec_spark.topk.snapshot_files import write_snapshot
from vlm4rec_spark.topk.snapshot_job import take_snapshot

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext, RunReport


LISTED = (PROFILES, RECOMMENDATIONS, SIMILAR_ITEMS, COMPLEMENTS)


@dataclass(frozen=True)
class Life:
    """Runs of both stages on one shop, one after the other."""

    context: RunContext
    profiles: RunReport
    topk: RunReport
    lists: Lists
    n_profiles: int
    n_similar: int
    """Rows that the first run left."""
    versions: dict[str, int]
    """Last commit of each table of lists."""
    again: tuple[RunReport, RunReport]
    """Under the same id, from a log in seven partitions instead of one."""
    versions_again: dict[str, int]
    lists_again: Lists
    lists_later: Lists
    """With three new items."""


@pytest.fixture(scope="module")
def life(
    spark: SparkSession, shared_names: TableNames, tmp_path_factory: pytest.TempPathFactory
) -> Life:
    folder = tmp_path_factory.mktemp("life")
    fill_shop(spark, shared_names)
    describe_outfits(spark, shared_names)
    outfits = "describe.attributes=fashion"
    context = make_context(spark, shared_names, folder, outfits, partitions=1)
    profiles, topk = recommend(context)
    first = lists(context)
    rows = [delta.read(spark, spec, shared_names).count() for spec in (PROFILES, SIMILAR_ITEMS)]
    versions = {spec.name: delta.last_version(spark, spec, shared_names) for spec in LISTED}

    seven = make_context(spark, shared_names, folder, outfits, partitions=7)
    again = recommend(replace(seven, run_id=context.run_id))
    lists_again = lists(context)
    versions_again = {spec.name: delta.last_version(spark, spec, shared_names) for spec in LISTED}

    fill_shop(spark, shared_names, ITEMS_IN_SHOP + 3)
    recommend(replace(context, run_id="later"))
    return Life(
        *(context, profiles, topk, first, rows[0], rows[1], versions),
        *(again, versions_again, lists_again, lists(context)),
    )


def describe_outfits(spark: SparkSession, names: TableNames) -> None:
    """Describe a third of the items as dresses, a third as boots, a third as bags, all alike."""
    look = [("style", {"value": "classic"}), ("occasion", {"value": "office"})]
    described: list[Row] = [
        {
            "request_key": f"k{n}",
            "status": "ok",
            "description": "Words.",
            "attributes": [("type", {"value": ("dress", "boot", "handbag")[n % 3]}), *look],
        }
        for n in range(ITEMS_IN_SHOP)
    ]
    write(spark, names, DESCRIPTIONS, described)


def test_lists_hold_nothing_seen_unavailable_or_repeated_and_a_rerun_writes_nothing(
    life: Life,
) -> None:
    seen = {(r["user_id"], r["item_id"]) for r in log_rows() if r["item_id"]}
    found = life.lists
    assert len(found) == USERS + 2
    for user, entries in found.items():
        ids = [item for item, _, _ in entries]
        assert len(set(ids)) == len(ids) == 8
        assert not any((user, item) in seen for item in ids)
        assert not any(int(item[1:]) % 7 == 6 for item in ids)
    own_group = [int(item[1:]) % 3 for item, _, _ in found["u01"][:4]]
    assert own_group == [1] * 4
    assert "Popular" in found["window shopper"][0][2]
    assert "Popular" in found["collector"][0][2]
    problems = ("null_ids", "future_timestamps", "unknown_items", "duplicates")
    assert [life.profiles.counts[p] for p in problems] == [1, 1, 2, 1]
    assert life.topk.figures["audited_recall"] == pytest.approx(1.0)
    assert life.topk.figures["audited_recall_similar"] == pytest.approx(1.0)
    assert life.n_profiles == USERS
    assert life.n_similar == 3 * ITEMS_IN_SHOP

    assert life.topk.counts["complement_rows_changed"] > 0
    assert life.versions_again == life.versions
    profiles, topk = life.again
    assert profiles.counts["profiles_changed"] == 0
    assert topk.counts["list_rows_changed"] == 0
    assert topk.counts["similar_rows_changed"] == 0


def test_lists_are_the_same_for_any_number_of_shards(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    fill_shop(spark, names)
    shaped = ("topk.rerank.mmr=0.7", "topk.rerank.new_items={days: 9, share: 0.2}")
    # Of 30 items in one leaf: some of 35 shards have none.
    for settings, shards, partitions in (
        (("profiles.interests=2", *shaped), 3, 7),
        (("profiles.fusion=softmax",), 35, 2),
    ):
        recommend(make_context(spark, names, tmp_path, *settings))
        more = (*settings, "topk.engine=auto", f"topk.shards={shards}")
        topk = topk_job.run(make_context(spark, names, tmp_path, *more, partitions=partitions))
        assert topk.counts["list_rows_changed"] == topk.counts["similar_rows_changed"] == 0


def test_a_shop_of_one_item_and_users_without_history_need_no_shards(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_snapshot(tmp_path / "one", item_table(1), unit(np.random.default_rng(0), 1, 4))
    spec = plan.SearchSpec(
        str(tmp_path / "one"), Beside(), ListSpec(EngineSpec("exact"), 3), "run", shards=3
    )
    table = history(
        ("buyer", "i000", 1.0, False), ("owner", "i000", 1.0, True), ("new", None, 0, False)
    )
    frame = spark.createDataFrame(table).selectExpr(
        "*", "CAST(NULL AS STRING) segment", "CAST(NULL AS STRING) text"
    )
    for rows in (frame, frame.where("weight = 0"), frame.limit(0)):
        found = plan.notes(plan.questions(rows, 20_000, spec), spec)
        made, whole = (
            plan.recommendations(rows, 20_000, spec, notes).toArrow() for notes in (found, None)
        )
        assert made.sort_by("user_id").equals(whole.sort_by("user_id"))
    neighbours = plan.similar_items(spark.range(1), spec)
    assert neighbours.count() == 0


def test_lists_are_the_same_for_any_number_of_partitions(life: Life) -> None:
    assert life.again[1].counts["list_rows_changed"] == 0
    assert life.lists_again == life.lists


def test_a_new_item_is_listed_in_the_next_run(life: Life) -> None:
    listed = {item for entries in life.lists_later.values() for item, _, _ in entries}
    assert listed & {"i30", "i31", "i32"}


def test_lists_under_the_recall_target_do_not_replace_those_in_force(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark, names = life.context.spark, life.context.names
    monkeypatch.setattr(topk_job, "audit", lambda *_: audit.Recall(0.5, 0.4, 10))
    with pytest.raises(RecallError, match=r"0\.5000"):
        topk_job.run(make_context(spark, names, tmp_path, "topk.k=3"))
    assert lists(life.context) == life.lists_later
    recorded = delta.read(spark, RUNS, names).where("stage = 'topk'").collect()
    (figures,) = (row["figures"] for row in recorded)
    assert figures["audited_recall"] == 0.5
    assert (figures["audited_recall_low"], figures["audited_recall_high"]) == (0.4, 0.6)


def test_a_catalogue_without_vectors_says_to_run_the_catalog_job(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    write(spark, names, ITEMS, [{"item_id": "i00", "available": True}])
    with pytest.raises(SourceError, match="run the catalog job first"):
        topk_job.run(make_context(spark, names, tmp_path))


def test_rules_segments_and_pins_hold_for_every_list(
    spark: SparkSession,
    names: TableNames,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fill_shop(spark, names)
    users = [{"customer": f"u{u:02d}", "market": "DE" if u % 2 else "FR"} for u in range(USERS)]
    users.append({"customer": "new here", "market": "DE"})
    write_log(tmp_path / "users", users)
    context = make_context(
        spark, names, tmp_path,
        "topk.rules=[\"item_id <> 'i03'\", \"title LIKE 'Item%'\"]",
        "topk.user_rules={DE: \"item_id < 'i20'\"}",
        "topk.deny=[i04, nothing like that]",
        "topk.rerank.pins={i05: 2}",
        "sources.users.format=parquet",
        f"sources.users.path={tmp_path}/users",
        "sources.users.columns={user_id: customer, segment: market}",
        "topk.k=5",
    )  # fmt: skip
    recommend(context)
    assert "topk.deny: 1 of 2 items have no vector: nothing like that" in caplog.text
    found = lists(context)
    seen = {(r["user_id"], r["item_id"]) for r in log_rows()}
    assert len(found) == USERS + 3
    assert found["new here"][0][2].startswith("Popular")
    for user, entries in found.items():
        ids = [item for item, _, _ in entries]
        assert len(set(ids)) == 5
        assert not {"i03", "i04"} & set(ids)
        assert (user, "i05") in seen or ids[1] == "i05"
        if user == "new here" or (user[0] == "u" and int(user[1:]) % 2):
            assert max(ids) < "i20"
    assert max(max(item for item, _, _ in entries) for entries in found.values()) >= "i20"
    snapshot = load_snapshot(take_snapshot(context))
    some = "item_id IN ('i01', 'i02', 'i03', 'i04', 'i25') AND title <> 'Item 2'"
    for segment, ids in (("FR", ["i01", "i25"]), ("DE", ["i01"])):
        rules = search_rules(context.config, some, segment)
        met = searched_items(context, snapshot, rules)[0]
        assert snapshot.ids.filter(pa.array(met)).to_pylist() == ids


def test_returns_interests_and_centring_shape_profiles_and_lists(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    fill_shop(spark, names)
    extra: list[Row] = [
        {"user_id": user, "item_id": item, "timestamp": NOW, "event_type": kind}
        for user, item, kind in (
            ("u00", "i01", "purchase"),  # two tastes
            ("u02", "i00", "purchase"),  # not even one: it is sent back
            ("u02", "i00", "return"),
            ("sender", "i02", "return"),
        )
    ]
    path = tmp_path / "log-with-returns"
    write_log(path, [*log_rows(), *extra])
    settings = (
        f"sources.interactions.path={path}",
        "profiles.events={view: 1, purchase: 5, return: -5}",
        "profiles.interests=2",
        "profiles.centre=true",
        "topk.audit_users=5",
    )
    context = make_context(spark, names, tmp_path, *settings)
    _, topk = recommend(context)
    rows = delta.read(spark, PROFILES, names).orderBy("user_id", "interest_no").collect()
    tastes = {row["user_id"]: [r for r in rows if r["user_id"] == row["user_id"]] for row in rows}
    assert "sender" not in tastes
    assert [row["interest_no"] for row in tastes["u00"]] == [0, 1]
    assert tastes["u00"][0]["weight"] >= tastes["u00"][1]["weight"]
    matrix = load_snapshot(take_snapshot(context))
    bought = matrix.vectors[matrix.find(pa.array(["i00", "i01"]))]
    nearest = (np.array([row["vector"] for row in tastes["u00"]]) @ bought.T).max(0)
    assert (nearest > 0.8).all()
    found = lists(context)
    assert found["sender"][0][2].startswith("Popular")
    assert "i02" not in {item for item, _, _ in found["sender"]}
    groups = {int(item[1:]) % 3 for item, _, _ in found["u00"][:4]}
    assert groups == {0, 1}
    assert {len(entries) for entries in found.values()} == {8}
    assert topk.figures["audited_recall"] == pytest.approx(1.0)

    late = ("profiles.interests=1", "profiles.fusion=softmax", "profiles.whiten=true")
    again = topk_job.run(make_context(spark, names, tmp_path, *settings, *late))
    assert again.figures["audited_recall"] == pytest.approx(1.0)
    assert {len(entries) for entries in lists(context).values()} == {8}


def test_a_rule_about_an_unknown_column_fails_before_any_work(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    context = make_context(spark, names, tmp_path, 'topk.rules=["prise < 3"]')
    with pytest.raises(ConfigError, match="did you mean 'price'"):
        Pipeline(spark, context.config).recommend()
    assert not spark.catalog.tableExists(f"{names.schema}.profiles")

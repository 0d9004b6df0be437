"""What a merchandiser asks of lists, together in one run on Spark."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.recommend_shop import (
    NOW,
    USERS,
    Row,
    fill_shop,
    log_rows,
    make_context,
    recommend,
    write,
)
from vlm4rec_spark import delta
from vlm4rec_spark.demo.run import outfit
from vlm4rec_spark.tables import COMPLEMENTS, DESCRIPTIONS, ITEMS, RECOMMENDATIONS
from vlm4rec_spark.topk import job as topk_job
from vlm4rec_spark.topk.facts_job import rule_frame
from vlm4rec_spark.topk.rule_checks import parsed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

N = 60
TYPES = ("dress", "boot", "handbag")
SLOTS = {"dress": "dress", "boot": "shoes", "handbag": "bag"}
NOT_ALLOWED = {"i01", "i02"}
SETTINGS = (
    "describe.attributes=fashion",
    f"profiles.now={(NOW + timedelta(hours=1)).isoformat()}",
    f"topk.allow=[{', '.join(f'i{i:02d}' for i in range(N) if f'i{i:02d}' not in NOT_ALLOWED)}]",
    "topk.rules=[\"attributes.style.value = 'classic' AND attributes.style.confidence > 0.5\"]",
    "topk.rerank.one_per_variant=true",
    "topk.rerank.new_items={days: 7, share: 0.25}",
    "topk.rerank.business={column: source.margin, weight: 0.3}",
    "topk.complements_k=4",
    "profiles.facets={occasion: 2, type: 0.5}",
)


def is_new(item: str) -> bool:
    return int(item[1:]) % 4 == 0


def is_classic_for_sure(item: str) -> bool:
    return int(item[1:]) % 10 not in {3, 5}


def margin(item: str) -> float:
    return (7 * int(item[1:]) % 10) / 9


def variant(item: str) -> int:
    return int(item[1:]) % (N // 2)


def describe_shop(spark: SparkSession, names: TableNames) -> None:
    """Give the items of the shop variants, margins, first days and attributes."""
    items = [
        {
            "item_id": (item := f"i{i:02d}"), "title": f"Item {i}", "available": i % 7 != 6,
            "first_seen": NOW - timedelta(days=0 if is_new(item) else 90),
            "variant_group": f"v{variant(item)}", "request_key": f"k{i}",
            "attributes": [("margin", str(100 * margin(item)))],
        }
        for i in range(N)
    ]  # fmt: skip
    write(spark, names, ITEMS, [dict(item) for item in items])
    described: list[Row] = [
        {
            "request_key": f"k{i}", "status": "ok", "description": "Words.",
            "attributes": [
                ("type", {"value": TYPES[i % 3], "confidence": 0.9}),
                ("occasion", {"value": "office", "confidence": 0.9}),
                # Of every ten one is sporty, and of one it is not sure that it is classic.
                ("style", {"value": "sporty" if i % 10 == 3 else "classic",
                           "confidence": 0.4 if i % 10 == 5 else 0.9}),
            ],
        }
        for i in range(N)
    ]  # fmt: skip
    write(spark, names, DESCRIPTIONS, described)


@pytest.mark.spark
def test_allow_list_sure_attributes_variants_new_items_margins_and_complements_hold_at_once(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    fill_shop(spark, names, N)
    describe_shop(spark, names)
    context = make_context(spark, names, tmp_path, *SETTINGS)
    _, topk = recommend(context)
    assert topk.counts["items_with_slot"] == N
    seen = {(r["user_id"], r["item_id"]) for r in log_rows()}
    rows = delta.read(spark, RECOMMENDATIONS, names).where("arm = 'profile'").orderBy("rank")
    found: dict[str, list[tuple[str, float]]] = {}
    for row in rows.collect():
        found.setdefault(row["user_id"], []).append((row["item_id"], row["score"]))
    assert len(found) == USERS
    for user, entries in found.items():
        ids = [item for item, _ in entries]
        assert len(ids) == 8
        assert not NOT_ALLOWED & set(ids)
        assert all(is_classic_for_sure(item) for item in ids)
        assert len({variant(item) for item in ids}) == 8
        assert not any((user, item) in seen for item in ids)
        # A quarter of the places, the last of every four, is kept for new items.
        assert is_new(ids[3])
        assert is_new(ids[7])
        worth = [0.7 * score + 0.3 * margin(item) for item, score in entries]
        by_worth = [value for place, value in enumerate(worth) if place not in {3, 7}]
        assert (np.diff(by_worth) <= 1e-6).all()
    check_complements(spark, names)
    sure = make_context(spark, names, tmp_path, "describe.min_confidence=0.5")
    (rule,) = parsed(sure.config, ["attributes.style.value = 'classic'"], "a rule")
    met = rule_frame(sure).where(rule.sql).select("item_id").collect()
    assert {row["item_id"] for row in met} == {
        f"i{i:02d}" for i in range(N) if is_classic_for_sure(f"i{i:02d}")
    }
    told = outfit(context)
    assert told[1] == "To complete Item 0:"
    assert [line[:5] for line in told[2:]] == ["  1. ", "  2. ", "  3. ", "  4. "]
    off = make_context(spark, names, tmp_path, *SETTINGS, "topk.complements_k=0")
    again = topk_job.run(off)
    assert again.counts["list_rows_changed"] == 0
    assert delta.read(spark, COMPLEMENTS, names).count() == 0


def check_complements(spark: SparkSession, names: TableNames) -> None:
    """Items are completed from the other two slots in turn, by items that may be listed."""
    rows = delta.read(spark, COMPLEMENTS, names).orderBy("target_item_id", "rank").collect()
    classic = sum(i % 10 != 3 for i in range(N))  # the rule leaves no sporty item to complete one
    assert len(rows) == 4 * classic
    for number, row in enumerate(rows):
        target, item = int(row["target_item_id"][1:]), int(row["item_id"][1:])
        assert row["rank"] == number % 4 + 1
        assert target % 3 != item % 3
        assert row["slot"] == SLOTS[TYPES[item % 3]]
        assert item % 7 != 6
        assert row["item_id"] not in NOT_ALLOWED
        assert is_classic_for_sure(row["item_id"])
        assert row["reason"] == f"Adds {row['slot']}; both: classic, office."
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["slot"] != second["slot"]
        assert first["score"] >= second["score"]

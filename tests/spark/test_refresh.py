"""A run that makes only what changed, beside a full run over the same inputs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tests.recommend_shop import (
    ITEMS_IN_SHOP,
    NOW,
    Row,
    fill_shop,
    log_rows,
    make_context,
    recommend,
    vector,
    write,
)
from tests.shop_log import write_log
from vlm4rec_spark import delta
from vlm4rec_spark.tables import ITEM_VECTORS, ITEMS, PROFILES, RECOMMENDATIONS, SIMILAR_ITEMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext
    from vlm4rec_spark.tables import TableSpec

TABLES = (PROFILES, RECOMMENDATIONS, SIMILAR_ITEMS)
CHANGED = (
    "topk.refresh=changed", "topk.rebuild_above=1", "topk.audit_users=5", "topk.engine=auto",
    "topk.shards=2",
)  # fmt: skip


def rows_of(context: RunContext, spec: TableSpec) -> dict[tuple[object, ...], Row]:
    """Return the rows of a table by their key."""
    found = delta.read(context.spark, spec, context.names).collect()
    return {tuple(row[name] for name in spec.key): row.asDict(recursive=True) for row in found}


def without_run(rows: dict[tuple[object, ...], Row]) -> list[Row]:
    """Return rows in the order of their keys, without the run that wrote them."""
    return [{k: v for k, v in rows[key].items() if k != "run_id"} for key in sorted(rows, key=str)]


def change_shop(spark: SparkSession, names: TableNames, n: int = ITEMS_IN_SHOP + 3) -> None:
    """Add items; one gets another vector, one is gone."""
    fill_shop(spark, names, n)
    moved: Row = {
        "item_id": "i13",
        "space": "caption",
        "text_sha256": "another",
        "encoder": "test@1",
        "vector": vector(5),
        "status": "ok",
    }
    write(spark, names, ITEM_VECTORS, [moved])
    spark.sql(f"DELETE FROM {names.qualified(ITEMS)} WHERE item_id = 'i16'")


def changed_log() -> list[Row]:
    """Return a later log: one user came, one left, one bought."""
    later = NOW + timedelta(days=2)
    new: list[Row] = [
        {"user_id": user, "item_id": item, "timestamp": later, "event_type": "purchase"}
        for user, item in (("u01", "i29"), ("newcomer", "i20"), ("newcomer", "i21"))
    ]
    return [*(row for row in log_rows() if row["user_id"] != "u03"), *new]


def test_what_changed_is_made_anew_and_equals_a_full_run(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    fill_shop(spark, names)
    first = replace(make_context(spark, names, tmp_path, *CHANGED), run_id="first")
    profiles, topk = recommend(first)
    assert (profiles.counts["made_anew"], topk.counts["made_anew"]) == (1, 1)
    assert "no finished run" in topk.bottleneck
    before = {spec: rows_of(first, spec) for spec in TABLES}

    log = tmp_path / "later-log"
    write_log(log, changed_log())
    change_shop(spark, names)
    settings = (*CHANGED, f"sources.interactions.path={log}")
    second = replace(make_context(spark, names, tmp_path, *settings), run_id="second")
    profiles, topk = recommend(second)
    assert (profiles.counts["made_anew"], topk.counts["made_anew"]) == (0, 0)
    assert topk.counts["lists_entered"] > 0
    assert topk.counts["lists_made_anew"] < topk.counts["users"]

    other = replace(names, schema=f"{names.schema}_full")
    try:
        fill_shop(spark, other)
        change_shop(spark, other)
        full = make_context(spark, other, tmp_path / "full", f"sources.interactions.path={log}")
        recommend(full)
        for spec in TABLES:
            now, wanted = rows_of(second, spec), rows_of(full, spec)
            assert without_run(now) == without_run(wanted), spec.name
            if spec is not PROFILES:
                old = before[spec]
                stayed = {
                    k
                    for k in now
                    if k in old and without_run({k: now[k]}) == without_run({k: old[k]})
                }
                assert {now[k]["run_id"] for k in stayed} == {"first"}
                assert {now[k]["run_id"] for k in now if k not in stayed} == {"second"}
                assert 0 < len(stayed) < len(now)
    finally:
        spark.sql(f"DROP SCHEMA IF EXISTS {other.qualified_schema} CASCADE")

    # Nothing new: nothing is written. Rows are missing: everything is made anew, and it is said.
    third = replace(second, run_id="third")
    profiles, topk = recommend(third)
    assert (profiles.counts["profiles_changed"], topk.counts["list_rows_changed"]) == (0, 0)
    assert (topk.counts["made_anew"], topk.counts["similar_rows_changed"]) == (0, 0)
    lists_before = len(rows_of(second, RECOMMENDATIONS))
    spark.sql(f"DELETE FROM {names.qualified(RECOMMENDATIONS)} WHERE user_id = 'u05'")
    _, topk = recommend(replace(second, run_id="fourth"))
    assert "changed by something else" in topk.bottleneck
    assert len(rows_of(second, RECOMMENDATIONS)) == lists_before


def test_a_run_beyond_the_allowed_drift_makes_everything_anew_and_says_so(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    fill_shop(spark, names)
    settings = (*CHANGED, "topk.rebuild_above=0.01")
    recommend(make_context(spark, names, tmp_path, *settings))
    log = tmp_path / "later-log"
    write_log(log, changed_log())
    later = make_context(spark, names, tmp_path, *settings, f"sources.interactions.path={log}")
    for report in recommend(replace(later, run_id="later")):
        assert report.counts["made_anew"] == 1
        assert "users changed, more than topk.rebuild_above 0.01" in report.bottleneck
    users = {row["user_id"] for row in rows_of(later, RECOMMENDATIONS).values()}
    assert "newcomer" in users
    assert "u03" not in users

"""Both jobs with real engines on a small synthetic shop, twice; read back without Spark."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.contract.jobs import read_table, vlm4rec

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(1500)]
KEYS = {
    "items", "described", "failed", "vlm_requests", "pictures_per_s", "users",
    "users_with_full_lists", "audited_recall", "seconds", "tables", "evaluation", "audit", "ndcg",
    "evidence_key",
}  # fmt: skip


@pytest.mark.usefixtures("model_server")
def test_the_demo_describes_once_and_lists_nothing_seen_repeated_or_unavailable(
    tmp_path: Path,
) -> None:
    small = ("demo", "--items", "80", "--users", "120")
    told = vlm4rec(small, folder=tmp_path)
    first = json.loads((tmp_path / "build/demo/summary.json").read_text())
    assert set(first) == KEYS
    assert first["items"] == 80
    assert first["described"] >= 75
    assert first["described"] + first["failed"] == 80
    assert 0 < first["vlm_requests"] <= 160  # the second pass, for the control, asks again
    assert first["users_with_full_lists"] == first["users"] > 100
    assert first["audited_recall"] >= 0.99
    assert told.count("For user") == 3
    for page in ("evaluation", "audit"):
        assert "Synthetic: shoppers were simulated" in (tmp_path / first[page]).read_text()
    assert first["ndcg"]["cold_popular"] == 0.0

    search = ("search", "floral dress for a garden party", "-k", "5", "--conf", "demo")
    told = vlm4rec(small, search, folder=tmp_path)
    second = json.loads((tmp_path / "build/demo/summary.json").read_text())
    assert second["vlm_requests"] == 0
    assert second["ndcg"] == first["ndcg"]
    assert second["described"] == first["described"]
    misaligned = read_table(tmp_path / "build/demo/tables/demo_misaligned", "runs")
    assert sorted(row["stage"] for row in misaligned) == ["catalog", "describe"]
    runs = [*misaligned, *read_table(tmp_path / "build/demo/tables/demo", "runs")]
    sent = sum(dict(row["counts"]).get("requests", 0) for row in runs)
    assert sent == first["vlm_requests"]

    tables = tmp_path / "build/demo/tables/demo"
    shoppers = pq.read_table(tmp_path / "build/demo/shop/interactions.parquet")
    seen = {(r["user_id"], r["item_id"]) for r in shoppers.to_pylist()}
    available = {r["item_id"] for r in read_table(tables, "items") if r["available"]}
    lists = read_table(tables, "recommendations")
    assert len(lists) == 10 * first["users"]
    places = {(row["user_id"], row["item_id"]) for row in lists}
    assert len(places) == len(lists)
    assert not places & seen
    assert {row["item_id"] for row in lists} <= available
    assert all(row["reason"] for row in lists)
    assert told.count("attributes:") == 5

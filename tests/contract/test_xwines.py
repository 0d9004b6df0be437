"""Real photographs and real dated ratings through both jobs, from CSV.

The demo model was never trained on wine: its words are wrong here, so titles carry the lists. The
plumbing must be right all the same.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.jobs import read_table, run_jobs, write_conf

FOLDER = Path(
    os.environ.get("VLM4REC_XWINES") or Path(__file__).parents[3] / "shared" / "data" / "xwines"
)
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        not (FOLDER / "items.csv").exists(),
        reason="the X-Wines sample is not here; VLM4REC_XWINES names its folder",
    ),
]


@pytest.mark.usefixtures("model_server")
def test_wine_photographs_and_ratings_run_through_both_jobs(tmp_path: Path) -> None:
    source = {"format": "csv", "options": {"header": "true"}}
    columns = {"category": "category", "brand": "brand", "attributes": ["country", "grapes"]}
    conf = write_conf(
        tmp_path / "wines.yml",
        {
            "tables": {"schema": "wines", "location": str(tmp_path / "tables")},
            "sources": {
                "items": {**source, "path": str(FOLDER / "items.csv"), "columns": columns},
                "interactions": {
                    **source,
                    "path": str(FOLDER / "interactions.csv"),
                    "columns": {"rating": "rating"},
                },
            },
            "images": {"base": str(FOLDER)},
            "describe": {
                "attributes": "fashion",
                "engine": {"model": "demo", "max_num_seqs": 32},
                "max_failure_rate": 1.0,
            },
            "embed": {"model": "demo", "texts": ["title"], "serve_space": "title"},
            "profiles": {"min_rating": 3.5},
            "topk": {"k": 10, "index_path": str(tmp_path / "index")},
        },
    )
    run_jobs(conf, "local[2]", "catalog", "recommend", "catalog", folder=tmp_path)
    tables = tmp_path / "tables" / "wines"
    assert len(read_table(tables, "items")) == 100
    images = read_table(tables, "images")
    assert [row["status"] for row in images] == ["ok"] * 100
    descriptions = read_table(tables, "descriptions")
    assert len(descriptions) == 100
    assert all(row["status"] == "ok" or row["error_code"] for row in descriptions)
    lists = read_table(tables, "recommendations")
    users = {row["user_id"] for row in lists}
    assert len(users) > 1300
    assert len(lists) == 10 * len(users)
    runs = [row for row in read_table(tables, "runs") if row["stage"] == "describe"]
    runs.sort(key=lambda row: row["started_at"])
    assert [dict(row["counts"])["requests"] for row in runs] == [100, 0]

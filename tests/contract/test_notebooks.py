"""Each notebook run as it stands, over one small synthetic shop and one session."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from vlm4rec_spark import notebook, testing

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
ORDER = ("quick_start", "inspect_descriptions", "audit_spaces", "evaluate_arms", "tune_rules")
"""The first fills the tables that the others look at."""
ITEMS, USERS = 24, 20


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a configuration of a shop with pictures, a log and the fake engine."""
    folder = tmp_path_factory.mktemp("shop")
    pq.write_table(testing.catalog(ITEMS), folder / "items.parquet")
    pq.write_table(testing.checkerboard(USERS, ITEMS, hidden=4), folder / "log.parquet")
    columns = {name: name for name in ("category", "brand", "price", "available", "image")}
    conf: dict[str, Any] = {
        "tables": {"schema": "notebooks", "location": f"{folder}/tables"},
        "sources": {
            "items": {"format": "parquet", "path": f"{folder}/items.parquet", "columns": columns},
            "interactions": {
                "format": "parquet",
                "path": f"{folder}/log.parquet",
                "columns": {"event_type": "event_type"},
            },
        },
        "describe": {"engine": {"kind": "fake"}},
        "embed": {"model": "demo", "texts": ["caption", "title"]},
        "topk": {"k": 4, "similar_k": 3, "index_path": f"{folder}/index"},
        "evaluate": {
            "arms": ["caption", "title", "popular", "random"],
            "resamples": 200,
            "k": 4,
            "report": f"{folder}/evaluation",
        },
        "audit": {"shown": 6, "report": f"{folder}/audit"},
    }
    path = folder / "shop.yml"
    path.write_text(yaml.safe_dump(conf), "utf-8")
    return path


@pytest.mark.usefixtures("spark")
def test_every_notebook_runs_and_shows_what_it_promises(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.py")) == sorted(ORDER)
    monkeypatch.chdir(tmp_path)
    for name in ORDER:
        monkeypatch.setattr(sys, "argv", [name, "--conf", str(shop)])
        runpy.run_path(str(NOTEBOOKS / f"{name}.py"), run_name="__main__")
    pages = {
        path.stem: path.read_text("utf-8") for path in (tmp_path / notebook.FOLDER).glob("*.html")
    }
    assert {"catalog_job", "recommend_job", "runs", "search", "descriptions", "attributes"} <= set(
        pages
    )
    lists = [page for name, page in pages.items() if name.startswith("list of")]
    assert len(lists) == 3
    assert all(page.count("data:image/jpeg;base64,") == 4 for page in lists)
    assert pages["search"].count("<img") == 8
    assert pages["descriptions"].count("<img") == 12
    assert "<svg" in pages["attributes"]
    assert pages["audit"].count("<article") == 6
    assert "caption and shoppers" in pages["overlaps"]
    assert "Arms, whole catalogue" in pages["arms"]
    assert "How this was made" in pages["report"]

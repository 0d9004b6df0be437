"""The preview of a copy: of a folder, and of a volume over Databricks' Files API, by its SDK."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.files_api import FILES, TOKEN, FilesApi
from tests.shop_folder import write_shop
from vlm4rec_spark import testing
from vlm4rec_spark.config import load_config
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.preview import volume
from vlm4rec_spark.preview.app import application
from vlm4rec_spark.publish.published import PREVIEWED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VOLUME = "/Volumes/main/recs/store"
EMBED = "embed.model=demo"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and an export with a copy as the publish job writes it (tests/spark)."""
    folder = tmp_path_factory.mktemp("volume")
    write_shop(folder)
    copy = folder / "export/run-1/preview"
    for spec in PREVIEWED:
        (copy / spec.name).mkdir(parents=True)
        rows = DeltaTable(str(folder / "tables/recs" / spec.name)).to_pyarrow_table()
        pq.write_table(rows, copy / spec.name / "part-0.parquet")
    (folder / "index").rename(copy / "index")
    (folder / "export/latest.json").write_text(json.dumps({"run": "run-1"}))
    return folder


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FilesApi]:
    """The folder as a volume that is not mounted."""
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    monkeypatch.setattr(volume, "PATIENCE_S", 1)
    with FilesApi(folder, VOLUME) as server:
        monkeypatch.setenv("DATABRICKS_HOST", server.address)
        volume._files.cache_clear()
        yield server
    volume._files.cache_clear()


def pages(copy: str, *settings: str) -> tuple[str, str, int]:
    from starlette.testclient import TestClient

    app = application(load_config(None, [EMBED, *settings]), copy=copy)
    client = TestClient(app, base_url="http://127.0.0.1")
    item = client.get(f"/item/{testing.item_id(1)}").text
    shopper = client.get("/shopper/anna", params={"rule": "out:colour=red"}).text
    return item, shopper, client.get(f"/picture/{testing.item_id(1)}/0").status_code


def test_a_copy_in_a_folder_shows_items_lists_and_rules(folder: Path) -> None:
    item, shopper, picture = pages(f"{folder}/export", f"images.base={folder}/pictures")
    assert "A blue thing." in item
    assert item.count("similarity") == 2 * 8
    assert "2 leave, 2 come" in shopper
    assert "read by Spark only" in shopper
    assert picture == 200


def test_a_copy_in_a_volume_is_brought_over_and_pictures_are_asked_for(store: FilesApi) -> None:
    told = pages(f"{VOLUME}/export", f"images.base={VOLUME}/pictures")
    folder = f"{store.root}/export"
    assert told == pages(folder, f"images.base={store.root}/pictures")
    pictures = [path for path in store.asked if path.startswith(f"{FILES}{VOLUME}/pictures")]
    assert pictures == [f"{FILES}{VOLUME}/pictures/1.jpg"], "one when it is looked at, not all"


def test_a_picture_that_is_not_there_or_may_not_be_read_is_no_picture(store: FilesApi) -> None:
    for base in (f"{VOLUME}/elsewhere", "/Volumes/main/other/pictures"):
        assert pages(f"{VOLUME}/export", f"images.base={base}")[2] == 404
        assert store.asked[-1] == f"{FILES}{base}/1.jpg"


def test_without_a_copy_the_settings_are_named(
    store: FilesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (f"{VOLUME}/nothing", str(tmp_path)):
        with pytest.raises(ConfigError, match=r"publish\.files\.preview"):
            application(load_config(), copy=place)
    (tmp_path / "latest.json").write_text(json.dumps({"run": "run-1"}))
    with pytest.raises(ConfigError, match="has no copy"):
        application(load_config(), copy=str(tmp_path))
    monkeypatch.setenv("DATABRICKS_TOKEN", "another")
    volume._files.cache_clear()
    with pytest.raises(ConfigError, match="Unauthenticated"):
        application(load_config(), copy=f"{VOLUME}/export")
    assert store.asked

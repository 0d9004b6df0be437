"""The preview page, asked over HTTP in this process: what it shows, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.shop_folder import HOSTILE_TITLE, HOSTILE_USER, write_shop
from vlm4rec_spark import testing
from vlm4rec_spark.config import load_config
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.preview.app import application
from vlm4rec_spark.preview.rules import Rule, parsed
from vlm4rec_spark.preview.shop import Shop

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    from starlette.testclient import TestClient

    config = write_shop(tmp_path_factory.mktemp("shop"))
    return TestClient(application(config), base_url="http://127.0.0.1")


def test_the_start_shows_newest_items_and_some_shoppers(page: TestClient) -> None:
    text = page.get("/").text
    assert text.index("Item 11") < text.index("Item 3")
    assert 'href="/shopper/anna"' in text


def test_an_item_shows_what_the_model_saw_and_its_neighbours_in_each_space(
    page: TestClient,
) -> None:
    text = page.get(f"/item/{testing.item_id(1)}").text
    assert "A blue thing." in text
    assert "90 %" in text
    assert "not visible" in text
    assert text.count("similarity") == 2 * 8
    assert text.index("Neighbours by caption") < text.index("Neighbours by title")


def test_an_attribute_that_the_model_was_not_sure_of_is_not_shown(tmp_path: Path) -> None:
    config, first = write_shop(tmp_path), testing.item_id(1)
    picky = config.describe.model_copy(update={"min_confidence": 0.95})
    shop = Shop(config.model_copy(update={"describe": picky}))
    # The confidence of a colour is .9; of the others none was told.
    assert [a.name for a in shop.items([first])[first].attributes] == ["cut", "sleeves"]


def test_hostile_titles_descriptions_and_ids_are_text_on_every_page(page: TestClient) -> None:
    pages = [
        page.get("/"),
        page.get(f"/item/{testing.item_id(0)}"),
        page.get(f"/shopper/{quote(HOSTILE_USER, safe='')}"),
        page.get("/", params={"q": ""}),
        page.get("/shopper/anna", params={"rule": f"out:colour={HOSTILE_TITLE}"}),
        page.get("/item/<script>alert(1)</script>"),
    ]
    for answer in pages:
        assert "<script" not in answer.text
        assert "<img src=x" not in answer.text
        assert "script-src" not in answer.headers["content-security-policy"]
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<blockquote>&lt;script&gt;" in pages[1].text
    assert pages[0].status_code == pages[2].status_code == 200


def test_rules_say_what_leaves_and_what_comes_and_nothing_seen_comes(page: TestClient) -> None:
    text = page.get("/shopper/anna", params={"rule": "out:colour=red"}).text
    assert "2 leave, 2 come" in text
    coming = text[text.index("comes ·") - 700 :]
    assert "Item 9" not in coming.split("leaves ·")[0].replace("Like &#39;Item 9&#39;", "")
    only = page.get("/shopper/anna", params={"rule": ["only:colour=red", "out:cut=slim"]}).text
    assert "6 leave, 0 come" in only


def test_what_is_no_rule_is_left_out() -> None:
    assert parsed(["", "out:colour=red", "drop table", "only:=x", "out:a"]) == [
        Rule("out", "colour", "red")
    ]


def test_the_history_stands_beside_the_list(page: TestClient) -> None:
    text = page.get("/shopper/anna").text
    assert "purchase · 01 Jun 2026" in text
    assert "Like &#39;Item 9&#39;, which you chose: red." in text


def test_pictures_are_decoded_and_made_small_and_nothing_else_is_served(
    page: TestClient,
) -> None:
    good = page.get(f"/picture/{testing.item_id(1)}/0")
    assert good.headers["content-type"] == "image/jpeg"
    for place in (f"{testing.item_id(11)}/0", f"{testing.item_id(1)}/5", "..%2F..%2Fetc/0"):
        assert page.get(f"/picture/{place}").status_code == 404
    for place in ("/../log.parquet", "/static/../app.py", "/item/..%2F..%2Fetc%2Fpasswd"):
        assert page.get(place).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(page: TestClient, method: str) -> None:
    assert page.request(method, "/").status_code == 405
    assert page.request(method, "/shopper/anna").status_code == 405


def test_a_request_under_another_name_is_refused_on_loopback(page: TestClient) -> None:
    assert page.get("/", headers={"host": "evil.example"}).status_code == 400


def test_unknown_items_and_shoppers_are_404(page: TestClient) -> None:
    assert page.get("/item/nothing").status_code == 404
    assert page.get("/shopper/nobody").status_code == 404
    assert page.get("/shopper", params={"user_id": "a/b"}, follow_redirects=False).headers[
        "location"
    ] == "/shopper/a%2Fb"  # fmt: skip


def test_without_tables_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tables\.location"):
        application(load_config())
    with pytest.raises(ConfigError, match="reads tables from a folder"):
        application(load_config(None, ["tables.location=s3://bucket/recs"]))
    config = load_config(None, [f"tables.location={tmp_path}"])
    with pytest.raises(ConfigError, match="no tables in"):
        application(config)
    (tmp_path / config.tables.schema_name / "items").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no tables in"):  # a folder is no table yet
        application(config)

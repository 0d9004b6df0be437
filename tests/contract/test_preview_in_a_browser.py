"""The preview page in a real browser: by clicks, by keyboard, on a phone."""

from __future__ import annotations

import shutil
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.shop_folder import HOSTILE_USER, write_shop
from vlm4rec_spark import testing
from vlm4rec_spark.preview.app import application

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = [pytest.mark.contract, pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)]  # fmt: skip
sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a shop on a free port of loopback."""
    import uvicorn

    app = application(write_shop(tmp_path_factory.mktemp("shop")))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not run as root, as CI often is; the pages are our own.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A new tab; a message in the console, such as a refused script, fails the test."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    told: list[str] = []
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    yield opened
    opened.close()
    assert not [text for text in told if "404" not in text]


def wide(tab: Any) -> bool:
    """Tell whether the page is wider than its window."""
    return bool(tab.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def test_a_click_on_an_item_shows_its_picture_and_what_the_model_saw(
    tab: Any, address: str
) -> None:
    tab.goto(address)
    tab.click("text=Item 10")
    assert tab.inner_text("h1") == "Item 10"
    assert tab.evaluate("document.querySelector('.pictures img').naturalWidth") > 100
    assert tab.locator("meter").count() == 1
    assert tab.get_by_role("heading", name="Neighbours by title").count() == 1


def test_a_sentence_finds_items_by_the_real_encoder(tab: Any, address: str) -> None:
    tab.set_default_timeout(120_000)  # loads the encoder
    tab.goto(address)
    tab.fill("#q", "a red coat")
    tab.press("#q", "Enter")
    tab.wait_for_selector("h1:has-text('Nearest to')")
    assert tab.locator(".card").count() == 11, "all available items, none that is not"


def test_a_rule_is_tried_and_taken_back_by_the_form(tab: Any, address: str) -> None:
    tab.goto(f"{address}/shopper/anna")
    tab.select_option("#rule", "out:colour=red")
    tab.click("text=Try >> nth=-1")
    tab.wait_for_selector("#effect")
    assert tab.inner_text("#effect").startswith("2 leave, 2 come")
    assert tab.locator(".leaves").count() == tab.locator(".comes").count() == 2
    tab.uncheck("input[name=rule]")
    tab.click("text=Try >> nth=-1")
    tab.wait_for_selector("#effect", state="detached")
    assert tab.locator(".leaves").count() == 0


def test_the_keyboard_reaches_the_search_first_and_the_content_by_one_key(
    tab: Any, address: str
) -> None:
    tab.goto(address)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "q"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.type("anna")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=Shopper anna")


def test_nothing_sticks_out_on_a_phone(tab: Any, address: str) -> None:
    tab.set_viewport_size({"width": 360, "height": 740})
    item = testing.item_id(0)  # its title is long and hostile
    for place in ("/", f"/item/{item}", "/shopper/anna?rule=out:colour=red"):
        tab.goto(address + place)
        assert not wide(tab), place


def test_a_hostile_title_and_a_hostile_id_run_no_script(tab: Any, address: str) -> None:
    for place in (f"/item/{testing.item_id(0)}", f"/shopper/{quote(HOSTILE_USER, safe='')}"):
        tab.goto(address + place)
        assert "stolen" not in tab.title().split("·")[-1]
        assert tab.evaluate("document.scripts.length") == 0
        assert tab.locator("img[src='x']").count() == 0

"""The reports in a real browser: no console error, hostile text stays text, keyboard, phone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from tests.browser import CHROMIUM, DESKTOP, PHONE, browser
from vlm4rec_spark import testing
from vlm4rec_spark.audit.findings import find
from vlm4rec_spark.audit.items import Items
from vlm4rec_spark.audit.page import page as audit_page
from vlm4rec_spark.config_evaluation import EvaluateConfig
from vlm4rec_spark.demo.truth import true_attributes, true_description
from vlm4rec_spark.evaluation.fates import Step
from vlm4rec_spark.evaluation.report import Evaluation, write_reports
from vlm4rec_spark.evaluation.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser import Browser

HOSTILE = '<img src=x onerror="document.body.dataset.owned=1"><script>alert(1)</script> "\'`|*'
N = 40

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install it)"),
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def an_audit(folder: Path) -> Path:
    """Write an audit of a small catalogue in which all words of one item are hostile."""
    products = testing.products(N)
    rows = [
        {
            "item_id": testing.item_id(n),
            "title": HOSTILE if n == 7 else f"{p.colour} {p.type} {n}",
            "category": p.kind.category,
            "variant_group": None,
            "said": HOSTILE if n == 7 else f"{p.colour} {p.type}",
            "description": HOSTILE if n == 7 else true_description(p),
            "words": [
                {"name": name, "value": HOSTILE if n == 7 else value, "confidence": 0.5}
                for name, value in true_attributes(p).items()
            ],
        }
        for n, p in enumerate(products)
    ]
    items = Items(pa.Table.from_pylist(rows))
    spaces = {
        "picture": testing.unit_vectors(N, 8, 0),
        "title": testing.unit_vectors(N, 8, 1),
        "caption": testing.unit_vectors(N, 8, 2),
    }
    probes = np.arange(N)
    together = np.tile(np.arange(4), (N, 1))
    found = find(items, spaces, probes, together, ("colour",), 4)
    jpegs = {n: testing.picture(p, n, side=112) for n, p in enumerate(products) if n != 3}
    path = folder / "audit.html"
    path.write_text(audit_page(found, list(range(N)), jpegs, [HOSTILE]), "utf-8")
    return path


def an_evaluation(folder: Path) -> Path:
    """Write an evaluation with made-up results; an arm's reason is hostile."""
    results = []
    for n, arm in enumerate(("caption", "title", "popular")):
        for pool in ("all", "cold"):
            for variants in ("kept", "collapsed"):
                value = 0.2 - 0.05 * n
                whole = Result(
                    arm, pool, variants, "everyone", "all", "NDCG@10", value, 700,
                    value - 0.01, value + 0.01, None if arm == "title" else "title",
                    0.05, 0.04, 0.06, 0.001,
                )  # fmt: skip
                results.append(whole)
        for m, age in enumerate(("day 0-1", "day 2-7", "older")):
            aged = Result(arm, "all", "kept", "age", age, "HitRate@10", 0.1 * (n + m), 90)
            results += [aged, dataclasses.replace(aged, metric="NDCG@10", low=0.0, high=0.3)]
    evaluation = Evaluation(
        run_id="r", config_hash="c", settings=EvaluateConfig(note=HOSTILE), cut=None,
        steps=[Step("train", 10, 3, 4), Step("test", 5, 2, 3)], n_items=5000, n_cold=40,
        n_users=700, encoder="e@1", vectors={"caption": 5000}, left_out={"visual": HOSTILE},
        tuning="defaults", results=results, folder=folder / "report",
    )  # fmt: skip
    return write_reports(evaluation) / "report.html"


@pytest.mark.parametrize("make", [an_audit, an_evaluation])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_report_shows_hostile_text_as_text_and_fits_every_screen(
    make: object, scheme: str, size: tuple[int, int], chromium: Browser, tmp_path: Path
) -> None:
    assert callable(make)
    chromium.problems.clear()
    chromium.open(make(tmp_path), size, scheme)
    raw = chromium.screenshot(tmp_path / "seen.png")
    assert len(raw) > 10_000
    assert chromium.problems == []
    assert chromium.ask("document.body.dataset.owned") is None
    assert chromium.ask("document.images.length") == 0
    assert HOSTILE.split("<script>", maxsplit=1)[0] in chromium.ask("document.body.innerText")
    assert chromium.ask("document.documentElement.scrollWidth") <= size[0]
    dark = chromium.ask("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    assert dark is (scheme == "dark")


def test_the_filters_work_from_the_keyboard_alone(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(an_audit(tmp_path))
    visible = "[...document.querySelectorAll('article')].filter(a => !a.hidden)"
    assert chromium.ask(f"{visible}.length") == N
    for _ in range(10):
        chromium.press("Tab", 9)
        if chromium.ask("document.activeElement.id") == "category":
            break
    assert chromium.ask("document.activeElement.id") == "category"
    chromium.press("ArrowDown", 40)
    chosen = chromium.ask("document.getElementById('category').value")
    assert chosen
    kept = chromium.ask(f"{visible}.map(a => a.dataset.category)")
    assert kept
    assert set(kept) == {chosen}
    assert (
        chromium.ask("document.getElementById('count').textContent") == f"{len(kept)} of {N} items"
    )

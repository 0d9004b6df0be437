"""Pictures become vectors once; one that cannot be read is left for the next run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.evaluation_shop import Row, write
from vlm4rec_spark import testing
from vlm4rec_spark.embeddings.visual import visual_spec
from vlm4rec_spark.embeddings.visual_job import embed_pictures, visual_vectors
from vlm4rec_spark.tables import IMAGES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.runs import RunContext


def test_a_picture_is_embedded_once_and_shared_by_the_items_that_have_it(
    spark: SparkSession, names: TableNames, context: RunContext, tmp_path: Path
) -> None:
    for n, product in enumerate(testing.products(2)):
        (tmp_path / f"{n}.jpg").write_bytes(testing.picture(product, n))
    rows: list[Row] = [
        {"item_id": item, "position": 0, "uri": str(tmp_path / f"{file}.jpg"), "sha256": f"s{file}",
         "status": "ok"}
        for item, file in (("a", 0), ("b", 1), ("copy of a", 0), ("lost", 7))
    ]  # fmt: skip
    write(spark, names, IMAGES, rows)
    spec = visual_spec(context.config)
    assert embed_pictures(context, spec) == 3
    found = {row["item_id"]: row["vector"] for row in visual_vectors(context, spec).collect()}
    assert set(found) == {"a", "b", "copy of a"}
    assert found["a"] == found["copy of a"] != found["b"]
    assert embed_pictures(context, spec) == 1

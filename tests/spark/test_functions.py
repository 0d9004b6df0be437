"""The model and the encoder as SQL functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from vlm4rec_spark import testing
from vlm4rec_spark.config import load_config
from vlm4rec_spark.embeddings.encoders import encode_texts, encoder_spec
from vlm4rec_spark.functions import register

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def test_sql_describes_pictures_and_embeds_texts_row_by_row(spark: SparkSession) -> None:
    settings = [
        "describe.engine.kind=fake",
        "describe.engine.latency_ms=20",
        "describe.attributes=fashion",
        "embed.model=demo",
    ]
    config = load_config(None, settings)
    register(spark, config)
    pictures = testing.catalog(7, side=64)["image"].to_pylist()
    rows = [
        {"n": n, "photo": photo, "words": words}
        for n, (photo, words) in enumerate(
            zip([*pictures, None, b"no picture"], [*"abcdefg", None, " "], strict=True)
        )
    ]
    schema = pa.schema([("n", pa.int32()), ("photo", pa.binary()), ("words", pa.string())])
    frame = spark.createDataFrame(pa.Table.from_pylist(rows, schema=schema))
    found = spark.sql(
        "SELECT n, describe_image(photo) AS d, embed_text(words) AS v FROM {shop} ORDER BY n",
        shop=frame,
    ).collect()
    told = {row["n"]: row["d"] for row in found}
    assert {told[n]["status"] for n in range(7)} == {"ok"}
    # Each row has its own answer: what is said depends on the picture.
    again = spark.sql(f"SELECT describe_image(X'{pictures[3].hex()}') AS d").first()
    assert again is not None
    assert again["d"]["description"] == told[3]["description"]
    assert again["d"]["attributes"]["colour"] == told[3]["attributes"]["colour"]
    assert (told[8]["status"], told[8]["stage"]) == ("error", "decode")
    assert told[7]["status"] is None
    expected = encode_texts(encoder_spec(config), list("abcdefg"))
    np.testing.assert_allclose([row["v"] for row in found[:7]], expected, atol=1e-5)
    assert (found[7]["v"], found[8]["v"]) == (None, None)

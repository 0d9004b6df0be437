"""The model and the encoder as SQL functions, for notebooks and one-off questions.

    from vlm4rec_spark import load_config
    from vlm4rec_spark.functions import register

    register(spark, load_config("my_shop.yml"))
    spark.sql("SELECT sku, describe_image(photo).description FROM products LIMIT 20")

They use the engines of the jobs and keep the order of rows, but nothing else of the jobs: no table
remembers the answers, equal pictures are asked about again, and Spark may call a function twice
where a query uses it twice. Describe a catalogue with `vlm4rec catalog`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyspark.sql.pandas.functions import pandas_udf

from vlm4rec_spark.descriptions.ordered import describe_in_order
from vlm4rec_spark.descriptions.plan import task_spec
from vlm4rec_spark.descriptions.specs import worker_spec
from vlm4rec_spark.embeddings.encoders import encoder_spec, load_encoder

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.config import Config

DESCRIPTION = (
    "STRUCT<status: STRING, stage: STRING, error_code: STRING, error_message: STRING, "
    "description: STRING, attributes: MAP<STRING, STRING>, confidences: MAP<STRING, DOUBLE>>"
)
"""What `describe_image` gives for each picture; null for a null picture."""

FIELDS = ("status", "stage", "error_code", "error_message", "description")


def describe_image(config: Config) -> Any:
    """Return a function of a BINARY column of picture files that gives `DESCRIPTION`.

    A picture that cannot be described has status 'error'; the query goes on.

    Args:
        config: the parts `describe` and `images` are used.
    """
    spec = worker_spec(config, "describe_image")

    def describe(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        pictures = ([p if isinstance(p, bytes) else None for p in batch] for batch in batches)
        for answers in describe_in_order(task_spec(spec), pictures):
            yield _frame(answers)

    # PySpark types hold no overload for an iterator that gives frames.
    return pandas_udf(describe, DESCRIPTION)  # type: ignore[call-overload]


def _frame(answers: list[dict[str, Any] | None]) -> pd.DataFrame:
    rows = []
    for answer in answers:
        if answer is None:
            rows.append(dict.fromkeys((*FIELDS, "attributes", "confidences")))
            continue
        attributes = dict(answer.get("attributes") or ())
        row: dict[str, Any] = {name: answer.get(name) for name in FIELDS}
        row["attributes"] = {name: a["value"] for name, a in attributes.items()}
        row["confidences"] = {name: a["confidence"] for name, a in attributes.items()}
        rows.append(row)
    return pd.DataFrame(rows, columns=[*FIELDS, "attributes", "confidences"], dtype="object")


def embed_text(config: Config) -> Any:
    """Return a function of a STRING column that gives the unit vector, ARRAY<FLOAT>.

    The vectors are those of `item_vectors` for the same text; null for a null or blank text.

    Args:
        config: the part `embed` is used.
    """
    spec = encoder_spec(config)

    def embed(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        encoder = load_encoder(spec)
        for batch in batches:
            texts = [" ".join(text.split()) if isinstance(text, str) else "" for text in batch]
            vectors = iter(encoder.encode([text for text in texts if text]))
            yield pd.Series([next(vectors) if text else None for text in texts], dtype="object")

    # As in `describe_image`: no overload for a function of iterators.
    return pandas_udf(embed, "ARRAY<FLOAT>")  # type: ignore[call-overload]


def register(spark: SparkSession, config: Config) -> None:
    """Make `describe_image` and `embed_text` known to SQL in this session."""
    spark.udf.register("describe_image", describe_image(config))
    spark.udf.register("embed_text", embed_text(config))

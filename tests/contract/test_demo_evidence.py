"""On the demo's shop, whose truth is known, the evaluation finds what was planted.

Captions are the true descriptions, so no model server is needed; pictures are left out. Synthetic
shoppers: this says that the measurement works, nothing about a real shop.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluation_shop import Row, write
from vlm4rec_spark import delta
from vlm4rec_spark.config import load_config
from vlm4rec_spark.demo.oracle import oracle_table
from vlm4rec_spark.demo.settings import ShopConfig
from vlm4rec_spark.demo.shop import make_shop
from vlm4rec_spark.demo.shoppers import simulate
from vlm4rec_spark.demo.truth import true_attributes, true_description
from vlm4rec_spark.evaluation import job
from vlm4rec_spark.runs import RunContext
from vlm4rec_spark.tables import DESCRIPTIONS, ITEMS, METRICS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

pytestmark = [pytest.mark.contract, pytest.mark.slow]
CONFIG = ShopConfig()


def fill(context: RunContext) -> None:
    """Write the catalogue with perfect descriptions."""
    shop = make_shop(CONFIG)
    items: list[Row] = [
        {
            "item_id": item.item_id,
            "title": item.title,
            "category": item.product.kind.category,
            "price": item.price,
            "available": True,
            "variant_group": item.variant_group,
            "first_seen": item.first_seen(CONFIG),
            "updated_at": CONFIG.start,
            "request_key": f"r-{item.item_id}",
        }
        for item in shop.items
    ]
    descriptions: list[Row] = [
        {
            "request_key": f"r-{item.item_id}",
            "status": "ok",
            "description": true_description(item.product, item.view),
            "attributes": [
                (name, {"value": value, "confidence": None})
                for name, value in true_attributes(item.product, item.view).items()
            ],
        }
        for item in shop.items
    ]
    write(context.spark, context.names, ITEMS, items)
    write(context.spark, context.names, DESCRIPTIONS, descriptions)


def test_words_win_on_new_items_and_the_truth_bounds_them_all(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    shop = make_shop(CONFIG)
    pq.write_table(pa.concat_tables(simulate(shop)), tmp_path / "log.parquet")
    pq.write_table(oracle_table(shop), tmp_path / "oracle.parquet")
    cut = CONFIG.start + timedelta(days=145)
    config = load_config(
        "demo",
        [
            f"tables={{schema: {names.schema}, location: null}}",
            f"topk.index_path={tmp_path}/index",
            f"sources.interactions.path={tmp_path}/log.parquet",
            "evaluate.arms=[caption, title, popular, item_knn, ease, random, shuffled]",
            "evaluate.validation_share=0",
            "evaluate.profile_arms={}",
            (
                "evaluate.sources=[{name: oracle, holds: vectors, format: parquet, path: "
                f"{tmp_path}/oracle.parquet}}]"
            ),
            f"evaluate.split.cut={cut.isoformat()}",
            f"evaluate.report={tmp_path}/report",
        ],
    )
    context = RunContext(spark, config, names, "run-1")
    fill(context)
    job.run(context)
    rows = delta.read(spark, METRICS, names).where(
        "slice = 'everyone' AND variants = 'kept' AND metric = 'NDCG@10'"
    )
    found = {(row["arm"], row["pool"]): row for row in rows.collect()}
    assert found["caption", "cold"]["difference_low"] > 0
    assert found["caption", "cold"]["p_holm"] < 0.05
    for arm in ("popular", "item_knn", "ease"):
        assert found[arm, "cold"]["value"] == 0.0
    for pool in ("all", "cold"):
        best = max(row["value"] for (_, p), row in found.items() if p == pool)
        assert found["oracle", pool]["value"] == best
        for control in ("random", "random_2", "random_3", "shuffled", "shuffled_2", "shuffled_3"):
            assert found[control, pool]["high"] < found["caption", pool]["low"]

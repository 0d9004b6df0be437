"""Vectors of what the items really are: the bound that no description of pictures can pass.

Shoppers react to style, occasion, material, colour, type and price band; here these are told apart
exactly, each as strongly as tastes differ in it. Popularity and season are not in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vlm4rec_spark.demo.tastes import BLOCKS, TASTE, item_codes

if TYPE_CHECKING:
    from vlm4rec_spark.demo.shop import Shop


def oracle_table(shop: Shop) -> pa.Table:
    """Return item_id, vector (float32, not of length 1)."""
    codes = {**item_codes(shop.items), "band": shop.bands}
    blocks = [np.eye(len(BLOCKS[name]))[codes[name]] * TASTE[name] for name in BLOCKS]
    rows = np.concatenate(blocks, axis=1).astype(np.float32)
    ids = pa.array([item.item_id for item in shop.items])
    vectors = pa.array(list(rows), pa.list_(pa.float32()))
    return pa.table({"item_id": ids, "vector": vectors})

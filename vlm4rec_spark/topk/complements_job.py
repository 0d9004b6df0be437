"""What completes each item: reads the item matrix and the outfits, writes `complements`."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vlm4rec_spark import delta
from vlm4rec_spark.descriptions.specs import schema_book
from vlm4rec_spark.tables import COMPLEMENTS
from vlm4rec_spark.topk import plan
from vlm4rec_spark.topk.landing import landed_in
from vlm4rec_spark.topk.snapshot_files import write_array
from vlm4rec_spark.topk.wardrobe import hang

if TYPE_CHECKING:
    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)
ITEMS_A_TASK = 16_384


def write_complements(context: RunContext, spec: plan.SearchSpec) -> dict[str, int]:
    """Write the complements of every item whose slot, style and occasion are known.

    Returns:
        complement_rows_changed, and items_with_slot: items that have a place in an outfit. Nothing
        where no attribute file has an `outfit` and there never was one.
    """
    book = schema_book(context.config)
    schemas = (book.default, *(schema for _, schema in book.categories))
    k = context.config.topk.complements_k
    wanted = k > 0 and any(schema.outfit for schema in schemas)
    if not wanted and not delta.table_exists(context.spark, COMPLEMENTS, context.names):
        return {}
    wardrobe, order = hang(spec.open(), book)
    n = len(order) if wanted else 0
    logger.info("complements: %d items in %d cells", len(order), len(wardrobe.cells))
    name = write_array(Path(spec.snapshot), "wardrobe", order)
    places = context.spark.range(0, n, 1, max(1, -(-n // ITEMS_A_TASK)))
    rows = plan.complements(places, wardrobe, name, replace(spec, lists=replace(spec.lists, k=k)))
    changed = landed_in(context, rows, COMPLEMENTS).changed
    return {"items_with_slot": len(order), "complement_rows_changed": changed}

"""The ingest stage: reads the source and the pictures, writes `items` and `images`."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from vlm4rec_spark import delta
from vlm4rec_spark.catalog import plan
from vlm4rec_spark.catalog.fetch import FetchSpec
from vlm4rec_spark.catalog.sources import count_ids, explode_pictures, read_items, unique
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.runs import RunContext, RunReport
from vlm4rec_spark.tables import IMAGES, ITEMS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

THREADS = 8
"""Pictures one task reads at a time: reading waits on disks and networks."""

logger = logging.getLogger(__name__)


def run(context: RunContext) -> RunReport:
    """Bring `items` and `images` in step with the source.

    Returns:
        counts: rows (of the source), null_ids, duplicate_ids, items (in the source), new, changed,
            left (gone from the source), images, images_ok, images_failed and, for each error
            code, images_failed_CODE.

    Raises:
        SourceError: the source cannot be read, is empty, or lacks a mapped column.
    """
    started = time.monotonic()
    source = read_items(context.spark, context.config, context.names)
    counts = count_ids(source)
    if not counts["items"]:
        # Taken at its word, an empty export would take the whole shop out of the lists.
        raise SourceError(
            f"sources.items has no usable row ({counts['rows']} rows, {counts['null_ids']} without "
            "item id); nothing was changed. Check the source's table or path."
        )
    for name in ("null_ids", "duplicate_ids"):
        if counts[name]:
            logger.warning("%d rows of the catalogue are left out: %s", counts[name], name)
    source = unique(source, has_duplicates=counts["duplicate_ids"] > 0)
    counts |= _upsert_items(context, source)
    items_done = time.monotonic()
    counts |= _upsert_images(context, source)
    seconds, reading = time.monotonic() - started, time.monotonic() - items_done
    figures = {"images_per_s": counts["images"] / max(reading, 1e-9)}
    logger.info("catalog: %s", counts)
    share = f"reading pictures took {reading / max(seconds, 1e-9):.0%} of the time"
    return RunReport("catalog", counts, figures, seconds, share)


def pictures(context: RunContext) -> DataFrame:
    """Return the pictures of the source: `item_id, position, uri, content`.

    `uri` is the full one, with what `images.uri` leaves out of a signed URL: use it for reading,
    never write it anywhere. `content` holds the bytes where the source does, else null;
    `fetch.read_picture(FetchSpec.of(config.images), content or uri)` gives the bytes of either.

    Raises:
        SourceError: the source cannot be read or lacks a mapped column.
    """
    source = read_items(context.spark, context.config, context.names)
    ids = count_ids(source)
    return explode_pictures(unique(source, has_duplicates=ids["duplicate_ids"] > 0))


def _upsert_items(context: RunContext, source: DataFrame) -> dict[str, int]:
    existing = delta.read(context.spark, ITEMS, context.names)
    # Microseconds is all a timestamp column keeps.
    now = datetime.now(timezone.utc)
    changes = plan.item_changes(plan.clean_items(source), existing, now)
    staged = delta.replace(changes, plan.INCOMING_ITEMS, context.names)
    found = {row["change"]: row["count"] for row in staged.groupBy("change").count().collect()}
    counts = {name: int(found.get(name, 0)) for name in ("new", "changed", "left")}
    if any(counts.values()):
        delta.upsert(staged.select(*ITEMS.column_names), ITEMS, context.names)
    return counts


def _upsert_images(context: RunContext, source: DataFrame) -> dict[str, int]:
    config = context.config
    images = delta.read(context.spark, IMAGES, context.names)
    pending = plan.pending_pictures(
        source,
        images,
        refresh=config.images.refresh,
        hashed=config.describe.near_duplicates is not None,
        tasks=config.describe.tasks,
    )
    read = plan.read_pictures(pending, FetchSpec.of(config.images), THREADS)
    # A MERGE may read its source more than once; pictures are read once, into a working table.
    staged = delta.replace(read, plan.INCOMING_IMAGES, context.names)
    rows = staged.groupBy("status", "code").count().collect()
    everything = staged.unionByName(plan.kept_images(images, source))
    delta.merge_on_key(context.spark, everything, IMAGES, context.names, delete_missing=True)
    codes = {str(r["code"]): int(r["count"]) for r in rows if r["status"] != "ok"}
    good = sum(int(r["count"]) for r in rows if r["status"] == "ok")
    bad = sum(codes.values())
    by_code = {f"images_failed_{code}": codes[code] for code in sorted(codes)}
    return {"images": good + bad, "images_ok": good, "images_failed": bad, **by_code}

"""The catalogue's data flow: canonical source rows in, rows of `items` and `images` out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import functions as sf

from vlm4rec_spark.catalog.addresses import redact
from vlm4rec_spark.catalog.fetch import FetchSpec, is_url, read_picture
from vlm4rec_spark.catalog.images import Picture, PictureError, failed, inspect
from vlm4rec_spark.catalog.items import clean_group, clean_title
from vlm4rec_spark.catalog.sources import explode_pictures
from vlm4rec_spark.spread import spread
from vlm4rec_spark.tables import IMAGES, ITEMS, Column, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pyspark.sql import Column as Expression
    from pyspark.sql import DataFrame

COMPARED = ("title", "category", "brand", "price", "available", "variant_group", "first_seen")
"""Columns of `items`, beside the attribute map, in which a difference makes a row changed."""

INCOMING_ITEMS = TableSpec(
    "items_incoming",
    (*ITEMS.columns, Column("change", pa.string(), "new, changed or left")),
    ITEMS.key,
    ITEMS.cluster_by,
    (),
    "Working table of the catalog job: what the last run changed in items",
)
INCOMING_IMAGES = replace(
    IMAGES,
    name="images_incoming",
    constraints=(),
    comment="Working table of the catalog job: what the last run saw of images",
)

_KNOWN = ("uri", "sha256", "width", "height", "phash")


def clean_items(source: DataFrame) -> DataFrame:
    """Return the item columns of the source with cleaned titles, brands and variant groups.

    Args:
        source: canonical rows, one per item_id (`sources.read_items`, `sources.unique`).
    """
    names = ("item_id", *COMPARED, "attributes")
    return source.select(*names).mapInArrow(_clean_batches, ITEMS.spark_ddl(*names))


def item_changes(incoming: DataFrame, existing: DataFrame, now: datetime) -> DataFrame:
    """Return only the rows of `items` to write, with `change`: 'new', 'changed' or 'left'.

    An item that is no longer in the source keeps everything but its availability. `first_seen` is
    the source's where it has one, else that of the first run that saw the item.

    Args:
        incoming: result of `clean_items`.
        existing: the table `items`.
        now: time of this run, with a zone.
    """
    before = existing.select("item_id", sf.struct(*ITEMS.column_names).alias("old"))
    rows = incoming.withColumn("is_there", sf.lit(True)).join(before, "item_id", "full_outer")
    moment = sf.lit(now)
    first_seen = sf.coalesce("first_seen", sf.col("old.first_seen"), moment)
    rows = rows.withColumn("first_seen", sf.when(sf.col("is_there"), first_seen))
    change = (
        sf.when(sf.col("old").isNull(), "new")
        .when(sf.col("is_there") & _differs(), "changed")
        .when(sf.col("is_there").isNull() & sf.col("old.available"), "left")
    )
    values: dict[str, Expression] = {
        name: sf.when(sf.col("is_there"), sf.col(name)).otherwise(sf.col(f"old.{name}"))
        for name in (*COMPARED, "attributes")
    }
    # What the source no longer names cannot be sold: it stays for history and lists' reasons.
    values["available"] = sf.coalesce(
        sf.when(sf.col("is_there"), sf.col("available")), sf.lit(False)
    )
    values |= {
        "item_id": sf.col("item_id"),
        "updated_at": moment,
        "request_key": sf.col("old.request_key"),
    }
    changed = rows.withColumn("change", change).where("change IS NOT NULL")
    return changed.select(*[values[n].alias(n) for n in ITEMS.column_names], "change")


def pending_pictures(
    source: DataFrame, images: DataFrame, *, refresh: bool, hashed: bool, tasks: int
) -> DataFrame:
    """Return the pictures to look at, with what the last run knew of each in `known_*`.

    Args:
        source: canonical rows, one per item_id.
        images: the table `images`.
        refresh: fetch URLs again that were read before.
        hashed: also those whose perceptual hash is not known: early versions made none.
        tasks: partitions to spread the reading over; pictures inside the source stay where they
            are, for moving them costs more.
    """
    pictures = explode_pictures(source)
    if dict(source.dtypes)["image"] == "array<binary>":
        nothing = [f"CAST(NULL AS {_sql_kind(n)}) AS known_{n}" for n in _KNOWN]
        return pictures.selectExpr("*", *nothing)
    known_ones = "status = 'ok' AND phash IS NOT NULL" if hashed else "status = 'ok'"
    good = images.where("FALSE" if refresh else known_ones)
    known = good.select(*IMAGES.key, *[sf.col(n).alias(f"known_{n}") for n in _KNOWN])
    return spread(pictures.join(known, list(IMAGES.key), "left"), tasks, *IMAGES.key)


def read_pictures(pending: DataFrame, spec: FetchSpec, threads: int) -> DataFrame:
    """Return one row of `images` per picture; none of them can fail a task.

    Args:
        pending: result of `pending_pictures`.
        spec: where pictures are and what they may cost.
        threads: pictures read at a time by one task.
    """
    reader = PictureReader(spec, threads)
    return pending.mapInArrow(reader.read_batches, IMAGES.spark_ddl())


def kept_images(images: DataFrame, source: DataFrame) -> DataFrame:
    """Return the rows of `images` of items that are no longer in the source: they stay."""
    return images.join(source.select("item_id"), "item_id", "left_anti").select(
        *IMAGES.column_names
    )


@dataclass(frozen=True)
class PictureReader:
    """Reads, checks and hashes pictures in a worker."""

    spec: FetchSpec
    threads: int

    def read_batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Turn batches of `pending_pictures` into batches of `images`, in the same order."""
        schema = IMAGES.arrow_schema()
        with ThreadPoolExecutor(self.threads) as pool:
            for batch in batches:
                # Only the records are kept: the bytes of at most `threads` files are in memory.
                rows = list(pool.map(self._row, _rows(batch)))
                yield pa.RecordBatch.from_pylist(rows, schema=schema)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        picture = self._picture(row)
        return {
            "item_id": row["item_id"],
            "position": row["position"],
            "uri": None if row["uri"] is None else redact(row["uri"].strip()) or None,
            "sha256": picture.sha256,
            "width": picture.width,
            "height": picture.height,
            "phash": picture.phash,
            "status": picture.status,
            "code": picture.code,
            "message": picture.message,
        }

    def _picture(self, row: dict[str, Any]) -> Picture:
        uri, content = row["uri"], row["content"]
        try:
            may_be_url = self.spec.kind in ("auto", "url")
            if may_be_url and uri and is_url(uri) and row["known_uri"] == redact(uri.strip()):
                return Picture(
                    "ok",
                    sha256=row["known_sha256"],
                    width=row["known_width"],
                    height=row["known_height"],
                    phash=row["known_phash"],
                )
            source = uri if content is None else content.as_buffer().to_pybytes()
            return inspect(read_picture(self.spec, source), self.spec.limits)
        except PictureError as error:
            return failed(error)
        except Exception as error:  # noqa: BLE001
            # A task that fails takes a million good rows with it; the row says what happened.
            return Picture("error", "unexpected", f"{type(error).__name__} while reading it.")


def _sql_kind(name: str) -> str:
    return "INT" if name in ("width", "height") else "STRING"


def _differs() -> Expression:
    """Tell whether a row differs from the stored one; maps are compared as sorted entries."""
    same = _entries("attributes").eqNullSafe(_entries("old.attributes"))
    for name in COMPARED:
        same = same & sf.col(name).eqNullSafe(sf.col(f"old.{name}"))
    return ~same


def _entries(name: str) -> Expression:
    return sf.array_sort(sf.map_entries(name))


def _clean_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        table = batch
        for name, clean in (
            ("title", clean_title),
            ("brand", clean_title),
            ("variant_group", clean_group),
        ):
            place = table.schema.get_field_index(name)
            values = [clean(text) for text in table.column(place).to_pylist()]
            table = table.set_column(place, name, pa.array(values, pa.string()))
        yield table


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch; `content` stays an Arrow scalar, copied only when it is read."""
    names = [name for name in batch.schema.names if name != "content"]
    columns = {name: batch.column(name).to_pylist() for name in names}
    content = batch.column("content")
    for i in range(batch.num_rows):
        picture = content[i] if content[i].is_valid else None
        yield {**{name: columns[name][i] for name in names}, "content": picture}

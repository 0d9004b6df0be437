"""The ingest stage on Spark and Delta."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vlm4rec_spark import delta
from vlm4rec_spark.catalog import job, plan, sources
from vlm4rec_spark.catalog.columns import expressions
from vlm4rec_spark.catalog.fetch import FetchSpec, read_picture
from vlm4rec_spark.config import load_config
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.tables import IMAGES, ITEMS

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from vlm4rec_spark.runs import RunContext

pytestmark = [pytest.mark.spark, pytest.mark.delta]


MAX_BYTES, MAX_PIXELS = 2000, 1000


def picture(*colours: str, size: tuple[int, int] = (30, 20)) -> bytes:
    """Return a picture of one colour, or one that moves between several."""
    out = io.BytesIO()
    first, *others = (Image.new("RGB", size, colour) for colour in colours)
    if others:
        first.save(out, "GIF", save_all=True, append_images=others)
    else:
        first.save(out, "PNG")
    return out.getvalue()


WRONG: dict[str, tuple[bytes | None, str, str]] = {
    "none.png": (None, "missing", "There is no file"),
    "../x.png": (None, "outside_base", "not inside images.base"),
    "page.png": (b"<html>404</html>", "not_a_picture", "expected one of"),
    "empty.png": (b"", "empty", "no bytes"),
    "big.png": (picture("red") + bytes(MAX_BYTES), "too_large", "images.max_bytes = 2000"),
    "cut.png": (picture("red")[:60], "unreadable", "is damaged"),
    "header.png": (picture("red")[:12], "unreadable", "header is broken"),
    "many.png": (picture("red", size=(40, 30)), "too_many_pixels", "40 x 30 pixels"),
    "moving.gif": (picture("red", "blue"), "animated", "expected a still"),
}
"""Name of a file -> its bytes, the code that its row has, and words of its message."""


def write_photos(folder: Path) -> Path:
    """Write two good pictures and the wrong ones; return where they are."""
    photos = folder / "photos"
    photos.mkdir()
    for name in ("red", "blue"):
        (photos / f"{name}.png").write_bytes(picture(name))
    for name, (content, _, _) in WRONG.items():
        if content is not None:
            (photos / name).write_bytes(content)
    return photos


def configured(context: RunContext, *settings: str) -> RunContext:
    """Return the context reading a Parquet folder, with more settings."""
    always = ("sources.items.format=parquet", f"tables.schema={context.names.schema}")
    return replace(context, config=load_config(None, [*always, *settings]))


def items_of(context: RunContext) -> dict[str, dict[str, Any]]:
    rows = delta.read(context.spark, ITEMS, context.names).collect()
    return {row["item_id"]: row.asDict() for row in rows}


def images_of(context: RunContext) -> dict[tuple[str, int], dict[str, Any]]:
    rows = delta.read(context.spark, IMAGES, context.names).collect()
    return {(row["item_id"], row["position"]): row.asDict() for row in rows}


def version_of(context: RunContext) -> list[int]:
    return [
        context.spark.sql(f"DESCRIBE HISTORY {context.names.qualified(spec)} LIMIT 1").collect()[0][
            "version"
        ]
        for spec in (ITEMS, IMAGES)
    ]


def write(folder: Path, rows: dict[str, list[Any]], **types: pa.DataType) -> None:
    arrays = {name: pa.array(values, types.get(name)) for name, values in rows.items()}
    pq.write_table(pa.table(arrays), folder / "items.parquet")


def test_items_and_pictures_follow_the_source(context: RunContext, tmp_path: Path) -> None:
    photos = write_photos(tmp_path)
    catalogue = tmp_path / "source"
    catalogue.mkdir()
    rows: dict[str, list[Any]] = {
        "sku": [1, 2, 3, None, 2, 4],
        "name": ["Red\tdress", "Blue shirt", "Broken", "No id", "Blue shirt, again", "No picture"],
        "cost": ["9.5", "20", "dear", "1", "20", None],
        "photos": [["red.png", "blue.png"], ["red.png"], [None, *WRONG], [], ["red.png"], None],
        "fit": ["slim", " ", None, "slim", " ", None],
        "group": ["g", "g", None, None, "g", None],
        "department": ["Dresses", " Shirts ", " ", "Dresses", " Shirts ", None],
        "maker": ["Aria", "Bo  & Co", None, "Aria", "Bo  & Co", None],
        "stock": ["In stock", "sold out", None, "yes", "sold out", "3"],
    }
    write(catalogue, rows, sku=pa.int64(), photos=pa.list_(pa.string()))
    here = configured(
        context,
        f"sources.items.path={catalogue}",
        f"images.base={photos}",
        f"images.max_bytes={MAX_BYTES}",
        f"images.max_pixels={MAX_PIXELS}",
        "sources.items.columns={item_id: sku, title: name, price: cost, image: photos, "
        "category: department, brand: maker, available: stock, attributes: [fit]}",
    )
    report = job.run(here)
    wanted = {"rows": 6, "null_ids": 1, "duplicate_ids": 1, "items": 4, "new": 4, "changed": 0}
    assert {name: report.counts[name] for name in wanted} == wanted
    first = items_of(here)
    assert sorted(first) == ["1", "2", "3", "4"]
    assert first["1"]["title"] == "Red dress"
    assert first["1"]["attributes"] == {"fit": "slim"}
    assert [first[i]["price"] for i in "123"] == [9.5, 20.0, None]
    assert [first[i]["category"] for i in "123"] == ["Dresses", "Shirts", None]
    assert [first[i]["brand"] for i in "123"] == ["Aria", "Bo & Co", None]
    assert [first[i]["available"] for i in "1234"] == [True, False, True, True]
    images = images_of(here)
    assert images["1", 1]["uri"] == "blue.png"
    assert (images["1", 0]["status"], images["1", 0]["width"]) == ("ok", 30)
    assert images["4", 0]["code"] == "no_picture"
    check_wrong_pictures(images)

    # The same source once more: nothing is written.
    before = version_of(here)
    again = job.run(here)
    assert [again.counts[name] for name in ("new", "changed", "left")] == [0, 0, 0]
    assert version_of(here) == before
    assert items_of(here) == first

    # Items 3 and 4 left, item 1 has a new title and lost a picture.
    rows = {name: values[:2] for name, values in rows.items()}
    rows["name"][0], rows["photos"][0] = "Scarlet dress", ["red.png"]
    rows["sku"], rows["name"][1] = [1, 2], first["2"]["title"]
    rows["photos"][1] = ["red.png"]
    write(catalogue, rows, sku=pa.int32(), photos=pa.list_(pa.string()))
    report = job.run(here)
    assert [report.counts[name] for name in ("new", "changed", "left")] == [0, 1, 2]
    last = items_of(here)
    assert last["1"]["title"] == "Scarlet dress"
    assert last["1"]["first_seen"] == first["1"]["first_seen"]
    assert last["3"] == first["3"] | {
        "available": False,
        "updated_at": last["3"]["updated_at"],
    }
    kept = [key for key in sorted(images) if key[0] in "34"]
    assert sorted(images_of(here)) == [("1", 0), ("2", 0), *kept]

    # Item 3 returns with a good picture; item 2 left, which was sold out before.
    rows["sku"], rows["name"][1], rows["stock"][1] = [1, 3], "Mended", "yes"
    write(catalogue, rows, sku=pa.int32(), photos=pa.list_(pa.string()))
    report = job.run(here)
    assert [report.counts[name] for name in ("new", "changed", "left")] == [0, 1, 0]
    back = items_of(here)["3"]
    assert (back["available"], back["title"]) == (True, "Mended")
    assert back["first_seen"] == first["3"]["first_seen"]
    images = images_of(here)
    assert sorted(images) == [("1", 0), ("2", 0), ("3", 0), ("4", 0)]
    assert images["3", 0]["status"] == "ok"


def check_wrong_pictures(images: dict[tuple[str, int], dict[str, Any]]) -> None:
    """Each kind of picture that cannot be used is a row that says what was wrong with it."""
    unnamed, *others = [row for (item, _), row in sorted(images.items()) if item == "3"]
    assert (unnamed["code"], unnamed["uri"]) == ("no_picture", None)
    assert [row["uri"] for row in others] == list(WRONG)
    for row, (_, code, words) in zip(others, WRONG.values(), strict=True):
        assert (row["status"], row["code"], row["width"]) == ("error", code, None)
        assert words in row["message"]


def test_a_shop_may_say_in_many_ways_what_is_available(spark: SparkSession) -> None:
    said: dict[str, dict[Any, bool]] = {
        "string": {
            **dict.fromkeys(["In stock", " YES ", "true", "t", "y", "1", "12", "0.5"], True),
            **dict.fromkeys(["sold out", "no", "false", "0", "-1", "soon"], False),
            **dict.fromkeys(["", "  ", None], True),
        },
        "int": {3: True, 0: False, -1: False, None: True},
        "boolean": {True: True, False: False, None: True},
    }
    for kind, expected in said.items():
        frame = spark.createDataFrame([(value,) for value in expected], f"stock {kind}")
        made = expressions({"stock": kind}, {"available": "stock"}, "sources.items")
        rows = frame.selectExpr("stock", *made).collect()
        assert {row["stock"]: row["available"] for row in rows} == expected


def test_bytes_in_several_columns_are_read_without_a_path(
    context: RunContext, tmp_path: Path
) -> None:
    columns: dict[str, list[Any]] = {
        "item_id": ["a", "b"],
        "title": ["A", "B"],
        "front": [picture("red"), b"no picture"],
        "back": [picture("blue"), None],
    }
    write(tmp_path, columns)
    here = configured(
        context,
        f"sources.items.path={tmp_path}/items.parquet",
        "sources.items.columns.image=[front, back]",
    )
    report = job.run(here)
    assert report.counts["images_ok"] == 2
    assert report.counts["images_failed_not_a_picture"] == 1
    assert report.counts["images_failed_no_picture"] == 1
    assert images_of(here)["a", 1]["uri"] is None
    spec = FetchSpec.of(here.config.images)
    found = {
        (row["item_id"], row["position"]): row["content"] for row in job.pictures(here).collect()
    }
    assert read_picture(spec, bytes(found["a", 1])) == picture("blue")


def test_files_of_a_folder_are_joined_by_the_item_id_unless_a_column_names_them(
    context: RunContext, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "7.png").write_bytes(picture("red"))
    (photos / "front.png").write_bytes(picture("blue"))
    columns: dict[str, list[Any]] = {
        "item_id": [7],
        "title": ["A"],
        "file": ["front"],
        "changed": [1],
    }
    write(tmp_path, columns)

    def found(*settings: str) -> bytes:
        here = configured(
            context, f"sources.items.path={tmp_path}/items.parquet", "images.kind=directory",
            f"images.base={photos}", *settings,
        )  # fmt: skip
        (row,) = job.pictures(here).collect()
        return read_picture(FetchSpec.of(here.config.images), row["uri"])

    assert found() == picture("red")
    assert found("sources.items.columns.image=null") == picture("red")
    assert found("sources.items.watermark={column: changed}") == picture("red")
    assert found("sources.items.columns.image=file") == picture("blue")
    with pytest.raises(SourceError, match="column 'files'"):
        found("sources.items.columns.image=files")
    write(tmp_path, {**columns, "image": ["front"]})
    assert found() == picture("blue")


def test_an_empty_or_missing_catalogue_changes_nothing(context: RunContext, tmp_path: Path) -> None:
    write(tmp_path, {"item_id": [None, " "], "title": ["A", "B"], "image": ["a", "b"]})
    here = configured(context, f"sources.items.path={tmp_path}/items.parquet")
    with pytest.raises(SourceError, match="no usable row"):
        job.run(here)
    with pytest.raises(SourceError, match="cannot read parquet"):
        job.run(configured(context, f"sources.items.path={tmp_path}/none"))


def test_interactions_are_read_from_csv_with_any_kind_of_time(
    context: RunContext, tmp_path: Path
) -> None:
    (tmp_path / "log.csv").write_text(
        'user,item_id,stars,at\n1,"a ""x""",4.5,2012-07-29 16:10:12\n'
        " ,b,many,1343578212\n2,c,,1343578212000\n3,d,1,never\n"
    )
    here = configured(
        context,
        "sources.interactions.format=csv",
        f"sources.interactions.path={tmp_path}/log.csv",
        "sources.interactions.columns={user_id: user, timestamp: at, rating: stars}",
    )
    frame = sources.read_source(here.spark, here.config.sources.interactions)
    rows = frame.selectExpr("*", "UNIX_SECONDS(timestamp) AS s").collect()
    assert [row["user_id"] for row in rows] == ["1", None, "2", "3"]
    assert [row["item_id"] for row in rows] == ['a "x"', "b", "c", "d"]
    assert [row["rating"] for row in rows] == [4.5, None, None, 1.0]
    assert [row["s"] for row in rows] == [1343578212, 1343578212, 1343578212, None]


def test_a_url_that_was_read_before_is_fetched_again_only_where_its_hash_is_wanted_and_not_known(
    spark: SparkSession,
) -> None:
    urls = ["https://shop.example/old.jpg", "https://shop.example/new.jpg"]
    source = spark.createDataFrame([("i", urls)], "item_id STRING, image ARRAY<STRING>")
    seen = [
        {"item_id": "i", "position": n, "uri": url, "sha256": "5e", "status": "ok", "phash": phash}
        for n, (url, phash) in enumerate(zip(urls, (None, "0f"), strict=True))
    ]
    images = spark.createDataFrame(pa.Table.from_pylist(seen, schema=IMAGES.arrow_schema()))

    def known(**wanted: bool) -> list[str | None]:
        rows = plan.pending_pictures(source, images, tasks=1, **wanted).collect()
        return [row["known_uri"] for row in sorted(rows, key=lambda row: row["position"])]

    assert known(refresh=False, hashed=False) == urls
    assert known(refresh=False, hashed=True) == [None, urls[1]]
    assert known(refresh=True, hashed=False) == [None, None]

"""Pictures behind signed URLs, several for an item, described by an endpoint."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.loopback import Answering, Loopback
from vlm4rec_spark import delta
from vlm4rec_spark.catalog import job as catalog_job
from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions import job as describe_job
from vlm4rec_spark.descriptions.fake import answer_to
from vlm4rec_spark.tables import DESCRIPTIONS, IMAGES, ITEMS

if TYPE_CHECKING:
    from pathlib import Path

    from vlm4rec_spark.runs import RunContext

pytestmark = [pytest.mark.spark, pytest.mark.delta]

SECRET = "s3cr3t"


def picture(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(out, "PNG")
    return out.getvalue()


PICTURES = {name: picture(name) for name in ("red", "blue", "lime")}
PICTURES["broken"] = PICTURES["red"][:60]


class Handler(Answering):
    """Shows pictures to those who have the signature, and answers chat requests."""

    server: WebShop

    def answer(self) -> None:
        if self.path == "/v1/chat/completions":
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked.append(body)
            message = {"message": {"content": answer_to(body)}, "finish_reason": "stop"}
            self.reply(200, json.dumps({"choices": [message]}).encode())
            return
        name, _, signature = self.path.strip("/").partition("?signature=")
        self.reply(*((200, PICTURES[name]) if signature == SECRET else (403, b"no")))


class WebShop(Loopback):
    """A shop's pictures, and a model, on one loopback port."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.asked: list[dict[str, Any]] = []

    def signed(self, *names: str) -> list[str]:
        return [f"{self.address}/{name}?signature={SECRET}" for name in names]


def shown(body: dict[str, Any]) -> list[str]:
    """Return the colours of the pictures in a request."""
    parts = [part for part in body["messages"][1]["content"] if part["type"] == "image_url"]
    urls = [part["image_url"]["url"] for part in parts]
    jpegs = [base64.b64decode(url.partition("base64,")[2]) for url in urls]
    pixels = [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs]
    return [("red", "lime", "blue")[int(seen.mean((0, 1)).argmax())] for seen in pixels]


def everything_stored(context: RunContext) -> str:
    """Return all that stands in any table, working tables included, as JSON."""
    spark, schema = context.spark, context.names.qualified_schema
    shown = spark.sql(f"SHOW TABLES IN {schema}").where("NOT isTemporary").collect()
    names = [row["tableName"] for row in shown]
    frames = [spark.table(f"{schema}.{name}") for name in names]
    lines = [frame.selectExpr("to_json(struct(*)) AS line").collect() for frame in frames]
    return "\n".join(row["line"] for rows in lines for row in rows)


def test_signed_pictures_are_described_by_an_endpoint_and_the_signature_is_kept_nowhere(
    context: RunContext, tmp_path: Path
) -> None:
    with WebShop() as shop:
        rows = {
            "item_id": ["many", "one", "unsigned"],
            "title": ["Many", "One", "Unsigned"],
            "image": [
                shop.signed("broken", "red", "blue", "lime"),
                shop.signed("lime"),
                [f"{shop.address}/red"],
            ],
        }
        pq.write_table(pa.table(rows), tmp_path / "items.parquet")
        given = [
            "sources.items.format=parquet",
            f"sources.items.path={tmp_path}/items.parquet",
            "images.allow_private_addresses=true",
            "images.max_images=2",
            "describe.attributes=fashion",
            "describe.engine.kind=endpoint",
            "describe.engine.model=the-model",
            f"describe.engine.urls=[{shop.address}]",
        ]
        here = replace(context, config=load_config(None, given))
        caught = catalog_job.run(here).counts
        counts = describe_job.run(here).counts
        stored = everything_stored(here)

    assert (caught["images"], caught["images_ok"]) == (6, 4)
    assert caught["images_failed_unreadable"] == caught["images_failed_http_status"] == 1
    images = delta.read(here.spark, IMAGES, here.names).where("item_id = 'one'").collect()
    assert [row["uri"] for row in images] == [f"{shop.address}/lime?signature="]

    assert [counts[n] for n in ("requests", "described", "items_without_picture")] == [2, 2, 1]
    items = delta.read(here.spark, ITEMS, here.names).select("item_id", "request_key")
    found = items.join(delta.read(here.spark, DESCRIPTIONS, here.names), "request_key").collect()
    rows_of = {row["item_id"]: row for row in found}
    assert sorted(rows_of) == ["many", "one"]
    for item, colours in (("many", ["red", "blue"]), ("one", ["lime"])):
        row = rows_of[item]
        assert (row["status"], row["engine"], row["model"]) == ("ok", "endpoint", "the-model")
        assert row["description"]
        hashes = [hashlib.sha256(PICTURES[colour]).hexdigest() for colour in colours]
        assert row["picture_hashes"] == hashes
    # The primary picture of 'many' is broken: the two usable ones after it are asked about.
    assert sorted(map(shown, shop.asked)) == [["lime"], ["red", "blue"]]
    assert {body["model"] for body in shop.asked} == {"the-model"}

    assert rows_of["many"]["picture_hashes"][0] in stored
    assert SECRET not in stored

"""Search on Spark with the real encoder: sentences, profiles, edits, and many at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from tests.recommend_shop import NOW, Row, make_context, recommend, write
from tests.shop_log import write_log
from vlm4rec_spark import Edit, Pipeline, delta
from vlm4rec_spark.cli import main
from vlm4rec_spark.config import load_config
from vlm4rec_spark.embeddings.encoders import encode_texts, encoder_spec
from vlm4rec_spark.errors import ConfigError, SourceError, StorageError
from vlm4rec_spark.tables import (
    DESCRIPTIONS,
    IMAGES,
    ITEM_VECTORS,
    ITEMS,
    RECOMMENDATIONS,
    SEARCHES,
)
from vlm4rec_spark.topk.edits import NO_EDIT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

TYPES, CLOTHS = ("dress", "shirt", "coat"), ("linen", "wool", "silk", "denim")
CAPTIONS = {f"{kind} {cloth}": f"A {kind} made of {cloth}." for kind in TYPES for cloth in CLOTHS}


def fill_shop(spark: SparkSession, names: TableNames) -> None:
    items: list[Row] = [
        {"item_id": item, "title": text, "available": item != "coat silk", "price": 10.0 + n}
        for n, (item, text) in enumerate(CAPTIONS.items())
    ]
    encoder = encoder_spec(load_config("demo"))
    vectors = encode_texts(encoder, list(CAPTIONS.values()))
    embedded: list[Row] = [
        {"item_id": item, "space": "caption", "text_sha256": item, "encoder": encoder.identity,
         "vector": vector.tolist(), "status": "ok"}
        for item, vector in zip(CAPTIONS, vectors, strict=True)
    ]  # fmt: skip
    write(spark, names, ITEMS, items)
    write(spark, names, ITEM_VECTORS, embedded)


def describe(spark: SparkSession, names: TableNames, item: str, uri: str) -> None:
    """Give an item what the catalog job would: a title, a picture, an attribute."""
    told = {"value": item.split(maxsplit=1)[0], "confidence": None}
    write(spark, names, ITEMS, [
        {"item_id": item, "title": item.title(), "available": True, "request_key": f"r {item}"},
    ])  # fmt: skip
    write(spark, names, IMAGES, [
        {"item_id": item, "position": 0, "uri": uri, "status": "ok", "sha256": "5e"},
    ])  # fmt: skip
    write(spark, names, DESCRIPTIONS, [
        {"request_key": f"r {item}", "status": "ok", "description": item,
         "attributes": {"kind": told}},
    ])  # fmt: skip


def write_events(folder: Path, *events: tuple[str, str, str]) -> None:
    """Write what users did with items a day ago."""
    yesterday = NOW - timedelta(days=1)
    names = ("user_id", "item_id", "event_type")
    rows = [dict(zip(names, event, strict=True), timestamp=yesterday) for event in events]
    write_log(folder, rows)


@pytest.mark.spark
def test_users_without_history_get_what_is_near_to_what_they_said_they_look_for(
    spark: SparkSession, names: TableNames, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill_shop(spark, names)
    write(spark, names, ITEMS, [{"item_id": "hat", "title": "No vector", "available": True}])
    stares = (("bob", "dress silk", "stare"), ("cy", "dress silk", "stare"))
    write_events(
        tmp_path / "events", ("ann", "coat wool", "purchase"), ("ann", "hat", "purchase"), *stares
    )
    said = [("ann", "a shirt"), ("bob", "A dress made of silk."), ("dee", "a coat made of linen")]
    users = spark.createDataFrame([*said, ("eve", " ")], "user_id STRING, wish STRING")
    users.write.parquet(f"{tmp_path}/users")
    context = make_context(
        spark, names, tmp_path, "embed.model=demo", f"sources.interactions.path={tmp_path}/events",
        "sources.users.format=parquet", f"sources.users.path={tmp_path}/users",
        "sources.users.columns={segment: null, text: wish}", "topk.k=3", "profiles.now=null",
    )  # fmt: skip
    profiles, topk = recommend(context)
    assert profiles.counts["events_without_vector"] == 1
    assert "1 events are in no profile" in caplog.text
    assert topk.counts["popular_users"] == 2
    rows = delta.read(spark, RECOMMENDATIONS, names).orderBy("user_id", "rank").collect()
    first = {row["user_id"]: row for row in rows if row["rank"] == 1}
    assert {user: row["arm"] for user, row in first.items()} == {
        "ann": "profile", "bob": "profile", "cy": "popular", "dee": "profile", "eve": "popular",
    }  # fmt: skip
    assert first["ann"]["because_item_id"] == "coat wool"  # a history is worth more than words
    assert first["dee"]["item_id"] == "coat linen"
    assert first["dee"]["because_item_id"] is None
    assert "what you asked for" in first["dee"]["reason"]
    # What was stared at counts nothing, but was seen.
    bobs = [row["item_id"] for row in rows if row["user_id"] == "bob"]
    assert "dress silk" not in bobs
    assert all({"dress", "silk"} & set(item.split()) for item in bobs)


@pytest.mark.spark
def test_sentences_and_profiles_are_searched_from_edited_in_words_and_in_batches(
    spark: SparkSession,
    names: TableNames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill_shop(spark, names)
    write_events(
        tmp_path / "events",
        ("ann", "coat wool", "purchase"),
        ("bob", "shirt silk", "purchase"),
        ("cy", "shirt silk", "stare"),
    )
    context = make_context(
        spark, names, tmp_path, "embed.model=demo", f"sources.interactions.path={tmp_path}/events"
    )
    pipeline = Pipeline(spark, context.config)
    linen = Edit(more=("linen",), less=("wool",), strength=0.8)

    def found(
        text: str | None, k: int, where: str | None = None, *, user: str | None = None,
        edit: Edit = NO_EDIT,
    ) -> list[str]:  # fmt: skip
        rows = pipeline.search(text, k, where, user_id=user, edit=edit).collect()
        return [row["item_id"] for row in rows]

    assert found("a coat made of wool", 1) == ["coat wool"]
    assert found("a coat made of wool", 1, edit=linen) == ["coat linen"]
    assert "coat silk" not in found("a coat made of silk", 12)
    near = found(None, 3, user="ann")
    assert "coat wool" not in near
    assert all({"coat", "wool"} & set(item.split()) for item in near)
    edited = found(None, 1, "price < 14", user="bob", edit=linen)
    assert edited == ["dress linen"]
    no_wool = make_context(
        spark, names, tmp_path, "embed.model=demo", f"sources.interactions.path={tmp_path}/events",
        "topk.rules=[\"item_id NOT LIKE '%wool'\"]", "topk.deny=[coat linen]",
    )  # fmt: skip
    (first,) = Pipeline(spark, no_wool.config).search("a coat made of wool or linen", 1).collect()
    assert first["item_id"] == "coat denim"
    with pytest.raises(SourceError, match="'cy' has no event"):
        found(None, 1, user="cy")
    with pytest.raises(ConfigError, match="either a sentence or a user"):
        found("a coat", 1, user="ann")

    queries: list[Row] = [
        {"query_id": "1", "text": "a coat made of wool", "more": None, "less": None},
        {"query_id": "2", "text": "a coat made of wool", "more": "linen; linen", "less": "wool"},
        {"query_id": "3", "text": "  ", "more": None, "less": None},
        {"query_id": "1", "text": "z comes second", "more": None, "less": None},
    ]
    schema = pa.schema([(name, pa.string()) for name in queries[0]])
    table = pa.Table.from_pylist(queries, schema=schema)
    spark.createDataFrame(table).write.parquet(f"{tmp_path}/queries.parquet")
    report = pipeline.search_many(f"{tmp_path}/queries.parquet", 2)
    assert report.counts == {
        "queries": 4, "queries_left_out": 2, "queries_answered": 2, "rows_changed": 4,
    }  # fmt: skip
    rows = delta.read(spark, SEARCHES, names).orderBy("query_id", "rank").collect()
    assert [(r["query_id"], r["rank"]) for r in rows] == [
        ("1", 1), ("1", 2), ("2", 1), ("2", 2),
    ]  # fmt: skip
    assert (rows[0]["item_id"], rows[2]["item_id"]) == ("coat wool", "coat linen")
    alone = pipeline.search("a coat made of wool", 2).collect()
    assert [(r["item_id"], r["score"]) for r in alone] == [
        (r["item_id"], r["score"]) for r in rows[:2]
    ]
    with pytest.raises(SourceError, match="cannot be read"):
        pipeline.search_many("no_such_table", 2)

    # As the command prints it, whatever the catalogue says a picture's path starts from.
    describe(spark, names, "coat wool", "wool/1.jpg")
    monkeypatch.setattr("vlm4rec_spark.session.build_session", lambda *_, **__: spark)
    settings = [f"tables.schema={names.schema}", f"topk.index_path={tmp_path}/index"]
    settings += ["embed.model=demo", "images.base=/photos"]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    assert main(["search", "a coat made of wool", "-k", "1", *arguments]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"1 Coat Wool ({alone[0]['score']:.3f})",
        "    item_id: coat wool",
        "    uri: /photos/wool/1.jpg",
        "    attributes: {'kind': 'coat'}",
    ]

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("java.io.IOException: No space left on device")

    monkeypatch.setattr("vlm4rec_spark.topk.search.search", full)
    with pytest.raises(StorageError, match="A disk is full"):
        pipeline.search("a coat", 1)

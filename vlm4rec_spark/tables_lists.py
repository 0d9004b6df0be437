"""The tables of the recommend job."""

from __future__ import annotations

import pyarrow as pa

from vlm4rec_spark.table_spec import DOUBLE, INT, MOMENT, TEXT, Column, one_of, table

HISTORY_SHARES = pa.list_(pa.struct([("item_id", TEXT), ("share", DOUBLE)]))
WORD_SHARES = pa.list_(pa.struct([("attribute", TEXT), ("value", TEXT), ("share", DOUBLE)]))

PROFILES = table(
    "profiles",
    "What each user likes, as unit vectors",
    "user_id interest_no",
    Column("user_id", TEXT, "User"),
    Column("interest_no", INT, "0 is the main interest"),
    Column("vector", pa.list_(pa.float32()), "Unit vector, float32"),
    Column("weight", DOUBLE, "Sum of the decayed event weights above 0"),
    Column("n_events", INT, "Events of the user that count"),
    Column("last_event_at", MOMENT, "Newest event"),
    checks=(("vector_filled", "vector IS NOT NULL AND size(vector) > 0"),),
)

RECOMMENDATIONS = table(
    "recommendations",
    "The list of each user",
    "user_id rank",
    Column("user_id", TEXT, "User"),
    Column("rank", INT, "1 is the best; ties by item id"),
    Column("item_id", TEXT, "Recommended item"),
    Column(
        "score",
        DOUBLE,
        "Cosine with the nearest interest, or what was asked; popularity for arm popular",
    ),
    Column("because_item_id", TEXT, "Item of the history that weighs most; null without one"),
    Column("because_share", DOUBLE, "Its part of what the whole history adds to the score"),
    Column(
        "history_shares",
        HISTORY_SHARES,
        "Items of the history that add most, each with its part of what all add; falling",
    ),
    Column(
        "attribute_shares",
        WORD_SHARES,
        "Words of the item that add most, each with about the part of the score that is lost "
        "when its text does not say so; falling",
    ),
    Column("shared_attributes", pa.list_(TEXT), "Attribute words both items share"),
    Column("reason", TEXT, "The reason in one sentence"),
    Column("arm", TEXT, "profile (of a history or of what the user asked) or popular"),
    Column("run_id", TEXT, "Run that last changed the row"),
    checks=(
        one_of("arm", "profile", "popular"),
        ("rank_from_one", "rank >= 1"),
        ("item_named", "item_id IS NOT NULL"),
    ),
)

SIMILAR_ITEMS = table(
    "similar_items",
    "The nearest items of each item",
    "target_item_id rank",
    Column("target_item_id", TEXT, "Item the list is for"),
    Column("rank", INT, "1 is the nearest; ties by item id"),
    Column("item_id", TEXT, "Similar item"),
    Column("score", DOUBLE, "Cosine of the vectors"),
    Column("reason", TEXT, "The reason in one sentence"),
    Column("run_id", TEXT, "Run that last changed the row"),
    checks=(("rank_from_one", "rank >= 1"), ("another_item", "item_id <> target_item_id")),
)

COMPLEMENTS = table(
    "complements",
    "What completes an item: the same style and occasion, another slot",
    "target_item_id rank",
    Column("target_item_id", TEXT, "Item the list is for"),
    Column("rank", INT, "1 is the best; slots take turns, in a turn by score, ties by item id"),
    Column("item_id", TEXT, "Item that completes it"),
    Column("slot", TEXT, "What it adds, as named in the attribute file: shoes, bag ..."),
    Column("score", DOUBLE, "Cosine of the vectors, each less the mean vector of its slot"),
    Column("reason", TEXT, "The reason in one sentence"),
    Column("run_id", TEXT, "Run that last changed the row"),
    checks=(
        ("rank_from_one", "rank >= 1"),
        ("another_item", "item_id <> target_item_id"),
        ("slot_named", "slot IS NOT NULL"),
    ),
)

SEARCHES = table(
    "searches",
    "What the last batch of queries found",
    "query_id rank",
    Column("query_id", TEXT, "Query, as named in the table of queries"),
    Column("rank", INT, "1 is the nearest; ties by item id"),
    Column("item_id", TEXT, "Item found"),
    Column("score", DOUBLE, "Cosine with the query, edited where it says more or less"),
    Column("run_id", TEXT, "Run that last changed the row"),
    checks=(("rank_from_one", "rank >= 1"), ("item_named", "item_id IS NOT NULL")),
)

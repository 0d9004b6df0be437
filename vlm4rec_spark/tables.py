"""The tables of the product; each is data, see `TableSpec`."""

from __future__ import annotations

import pyarrow as pa

from vlm4rec_spark.errors import SchemaError, near
from vlm4rec_spark.table_spec import (
    DOUBLE,
    FLAG,
    INT,
    LONG,
    MOMENT,
    TEXT,
    Column,
    TableSpec,
    one_of,
    sql_type,
    table,
)
from vlm4rec_spark.tables_lists import (
    COMPLEMENTS,
    PROFILES,
    RECOMMENDATIONS,
    SEARCHES,
    SIMILAR_ITEMS,
)
from vlm4rec_spark.tables_runs import LEASES, METRICS, METRICS_PER_USER, RUNS

__all__ = [
    "ALL_TABLES",
    "COMPLEMENTS",
    "DESCRIPTIONS",
    "DESCRIPTIONS_LOG",
    "EMBEDDINGS",
    "ENGINE_METRICS",
    "IMAGES",
    "ITEMS",
    "ITEM_VECTORS",
    "LEASES",
    "METRICS",
    "METRICS_PER_USER",
    "PROFILES",
    "RECOMMENDATIONS",
    "RUNS",
    "SEARCHES",
    "SIMILAR_ITEMS",
    "SOURCE_INTERACTIONS",
    "SOURCE_ITEMS",
    "VOLATILE",
    "Column",
    "TableSpec",
    "spec_named",
    "sql_type",
]

TEXTS = pa.list_(TEXT)
VECTOR = pa.list_(pa.float32())
ATTRIBUTES = pa.map_(TEXT, pa.struct([("value", TEXT), ("confidence", DOUBLE)]))

VOLATILE = frozenset({"run_id", "updated_at", "described_at"})
"""Columns that say when and by whom a row was written; alone they never make a row differ."""

ITEMS = table(
    "items",
    "The catalogue: one row per item ever seen",
    "item_id",
    Column("item_id", TEXT, "Id of the item as text"),
    Column("title", TEXT, "Title, cleaned"),
    Column("category", TEXT, "Category"),
    Column("brand", TEXT, "Brand"),
    Column("price", DOUBLE, "Price in the currency of the source"),
    Column("available", FLAG, "False when the source says so or no longer has the item"),
    Column("attributes", pa.map_(TEXT, TEXT), "Further columns of the source as text"),
    Column("variant_group", TEXT, "Shared by variants of one product (sizes, colours)"),
    Column("first_seen", MOMENT, "First run that saw the item"),
    Column("updated_at", MOMENT, "Last run that changed the row"),
    Column("request_key", TEXT, "Description in force, a key of descriptions"),
    checks=(("available_known", "available IS NOT NULL"),),
)

IMAGES = table(
    "images",
    "The pictures of the items: what was read and what failed",
    "item_id position",
    Column("item_id", TEXT, "Item"),
    Column("position", INT, "0 is the primary picture"),
    Column("uri", TEXT, "Path or URL; null for bytes from a column"),
    Column("sha256", TEXT, "Hash of the raw bytes, hexadecimal"),
    Column("width", INT, "Width in pixels after rotation, before resizing"),
    Column("height", INT, "Height in pixels after rotation, before resizing"),
    Column("phash", TEXT, "Perceptual hash, hexadecimal; close where pictures look alike"),
    Column("status", TEXT, "ok or error"),
    Column("code", TEXT, "Code of the error"),
    Column("message", TEXT, "The error in words"),
    checks=(
        one_of("status", "ok", "error"),
        ("ok_is_hashed", "status <> 'ok' OR sha256 IS NOT NULL"),
    ),
)

_DESCRIPTION_COLUMNS = (
    Column("request_key", TEXT, "Hash of pictures, prompt, schema, model, parameters and resizing"),
    Column("picture_hashes", TEXTS, "sha256 of the pictures in order"),
    Column("attribute_schema", TEXT, "Name of the attribute file"),
    Column("category", TEXT, "Category the prompt was made for"),
    Column("prompt_version", TEXT, "Hash of the prompt and the answer's schema"),
    Column("model", TEXT, "model@revision"),
    Column("params_hash", TEXT, "Hash of the decoding parameters and the resize rule"),
    Column("status", TEXT, "ok, error or skipped"),
    Column(
        "stage",
        TEXT,
        "Stage of the error: fetch, decode, request, generate, truncated, parse, validate",
    ),
    Column("error_code", TEXT, "Code of the error"),
    Column("error_message", TEXT, "The error in words"),
    Column("description", TEXT, "For a shopper: style, material, occasion"),
    Column("attributes", ATTRIBUTES, "Typed attributes; value null is 'not visible'"),
    Column("raw_text", TEXT, "What the model wrote"),
    Column("tokens_in", INT, "Prompt tokens"),
    Column("tokens_cached", INT, "Prompt tokens that came from the cache"),
    Column("tokens_out", INT, "Tokens of the answer"),
    Column("latency_ms", DOUBLE, "From sending to the last byte"),
    Column("engine", TEXT, "local, endpoint or fake"),
    Column("run_id", TEXT, "Run that described it"),
    Column("described_at", MOMENT, "When the answer came"),
    Column("copied_from", TEXT, "Request of a near-duplicate whose answer this is"),
)
_DESCRIPTION_CHECKS = (
    one_of("status", "ok", "error", "skipped"),
    ("ok_is_described", "status <> 'ok' OR description IS NOT NULL"),
    ("error_has_code", "status <> 'error' OR error_code IS NOT NULL"),
)

DESCRIPTIONS_LOG = table(
    "descriptions_log",
    "Every answer of the model, good or bad; append-only",
    "request_key attempt",
    _DESCRIPTION_COLUMNS[0],
    Column("attempt", INT, "1 is the first"),
    *_DESCRIPTION_COLUMNS[1:],
    Column("landing", TEXT, "Commit that landed the row: run, start and slice"),
    Column("server", TEXT, "Server that answered: host and GPU, or the host of a URL"),
    Column("fetch_ms", DOUBLE, "Reading the bytes of the pictures"),
    Column("prepare_ms", DOUBLE, "Decoding, turning and resizing them"),
    Column(
        "engine_sample",
        pa.map_(TEXT, DOUBLE),
        "State of the server, on few rows; see engine_metrics",
    ),
    checks=_DESCRIPTION_CHECKS,
)

ENGINE_METRICS = table(
    "engine_metrics",
    "What the local model servers were doing, some samples a minute",
    "run_id server sampled_at",
    Column("run_id", TEXT, "Run"),
    Column("server", TEXT, "Host and GPU"),
    Column("sampled_at", MOMENT, "When"),
    Column("running", DOUBLE, "Requests being answered"),
    Column("waiting", DOUBLE, "Requests waiting for a place"),
    Column("kv_cache_used", DOUBLE, "Share of the KV cache in use"),
    Column("preemptions", DOUBLE, "Requests put back for lack of memory, since the start"),
    Column("prefix_hits", DOUBLE, "Prompt tokens found in the prefix cache, since the start"),
    Column("prefix_queries", DOUBLE, "Prompt tokens looked up there, since the start"),
    Column("prompt_tokens", DOUBLE, "Prompt tokens read, since the start"),
    Column("generated_tokens", DOUBLE, "Tokens written, since the start"),
)

DESCRIPTIONS = table(
    "descriptions",
    "The description in force for each request key",
    "request_key",
    *_DESCRIPTION_COLUMNS,
    checks=_DESCRIPTION_CHECKS,
)

EMBEDDINGS = table(
    "embeddings",
    "Unit vectors of texts and pictures, cached by content and encoder",
    "text_sha256 encoder",
    Column("text_sha256", TEXT, "Hash of the text, or of the picture for a vision model"),
    Column("encoder", TEXT, "encoder@revision"),
    Column("vector", VECTOR, "Unit vector, float32"),
    Column("n_words", INT, "Words of the text"),
    checks=(("vector_filled", "vector IS NOT NULL AND size(vector) > 0"),),
)

ITEM_VECTORS = table(
    "item_vectors",
    "The vector in force for each item and space",
    "item_id space",
    Column("item_id", TEXT, "Item"),
    Column("space", TEXT, "caption, title, title_caption or attributes"),
    Column("text_sha256", TEXT, "Hash of the text"),
    Column("encoder", TEXT, "encoder@revision"),
    Column("vector", VECTOR, "Unit vector, float32"),
    Column("status", TEXT, "ok or error"),
    Column("message", TEXT, "The error in words"),
    checks=(
        one_of("status", "ok", "error"),
        ("ok_has_vector", "status <> 'ok' OR size(vector) > 0"),
    ),
    cluster_by="space item_id",
)

_FETCHED = (
    Column("watermark", LONG, "Watermark of the source: microseconds since 1970, or an integer"),
    Column("source_hash", TEXT, "Hash of the source's table and column mapping"),
)

SOURCE_ITEMS = table(
    "source_items",
    "The catalogue as fetched so far, where sources.items.watermark is set",
    "item_id",
    *(c for c in ITEMS.columns if c.name not in {"updated_at", "request_key"}),
    Column("image", TEXTS, "Paths or URLs, primary picture first"),
    *_FETCHED,
)

SOURCE_INTERACTIONS = table(
    "source_interactions",
    "The interaction log as fetched so far, where sources.interactions.watermark is set",
    "",
    Column("user_id", TEXT, "User"),
    Column("item_id", TEXT, "Item"),
    Column("rating", DOUBLE, "Rating"),
    Column("timestamp", MOMENT, "When"),
    Column("event_type", TEXT, "Kind of event"),
    *_FETCHED,
    cluster_by="watermark",
)

ALL_TABLES: tuple[TableSpec, ...] = (
    ITEMS,
    IMAGES,
    DESCRIPTIONS_LOG,
    DESCRIPTIONS,
    ENGINE_METRICS,
    EMBEDDINGS,
    ITEM_VECTORS,
    PROFILES,
    RECOMMENDATIONS,
    SIMILAR_ITEMS,
    COMPLEMENTS,
    SEARCHES,
    RUNS,
    METRICS,
    METRICS_PER_USER,
    LEASES,
    SOURCE_ITEMS,
    SOURCE_INTERACTIONS,
)


def spec_named(name: str) -> TableSpec:
    """Return the table with this name.

    Raises:
        SchemaError: there is none; names those there are.
    """
    specs = {spec.name: spec for spec in ALL_TABLES}
    if name not in specs:
        raise SchemaError(
            f"There is no table '{name}'{near(name, specs)} Tables: {', '.join(specs)}."
        )
    return specs[name]

"""Near-duplicate pictures: which requests are not sent, as another's answer serves them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.tables import DESCRIPTIONS_LOG, Column, TableSpec

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression
    from pyspark.sql import DataFrame

HASH_BITS = 64
_OF_A_REQUEST = (
    "raw_text", "tokens_in", "tokens_cached", "tokens_out", "latency_ms", "server", "fetch_ms",
    "prepare_ms", "engine_sample",
)  # fmt: skip
FOLLOWERS = TableSpec(
    "descriptions_followers",
    (
        Column("request_key", pa.string(), "Request that is not sent"),
        Column("leader", pa.string(), "Request whose answer it takes"),
    ),
    ("request_key",),
    ("request_key",),
    (),
    "Working table of the describe stage: near-duplicates the last run found",
)


def perceptual_hashes(images: DataFrame, max_images: int) -> DataFrame:
    """Return item_id, hashes (array<bigint>, null where not known) of the pictures of a request.

    Args:
        images: the table `images`.
        max_images: pictures of one item in one request.
    """
    numbers = images.where("status = 'ok'").select(
        "item_id", "position", F.expr("CAST(conv(phash, 16, -10) AS BIGINT)").alias("hash")
    )
    ordered = F.slice(F.sort_array(F.collect_list(F.struct("position", "hash"))), 1, max_images)
    return numbers.groupBy("item_id").agg(ordered["hash"].alias("hashes"))


def candidates(
    items: DataFrame,
    hashes: DataFrame,
    descriptions: DataFrame,
    todo: DataFrame,
    *,
    use_title: bool,
) -> DataFrame:
    """Return the requests that may lead or follow: request_key, asked, hashes, is_new, age.

    `asked` is what beside the pictures decides the answer, `hashes` are those of the pictures as
    integers. An item with a picture whose hash is not known is left out.

    Args:
        items: the table `items`.
        hashes: result of `perceptual_hashes`.
        descriptions: the table `descriptions`; what is described may lead.
        todo: result of `plan.pending`; of these the newest item leads.
        use_title: the title is part of what is asked.
    """
    done = descriptions.where("status = 'ok' AND copied_from IS NULL").select("request_key")
    open_requests = todo.select("request_key", F.lit(True).alias("is_new"))
    either = open_requests.unionByName(done.withColumn("is_new", F.lit(False)))
    first = items.groupBy("request_key").agg(
        F.min(F.struct("item_id", "category", "title", "first_seen")).alias("item")
    )
    rows = first.join(either, "request_key").select("request_key", "is_new", "item.*")
    known = rows.join(hashes, "item_id").where("NOT exists(hashes, h -> h IS NULL)")
    words = ["category", "title"] if use_title else ["category"]
    asked = F.to_json(F.struct(*words, F.size("hashes").alias("pictures")))
    age = -F.coalesce(F.unix_micros("first_seen"), F.lit(0))
    return known.select("request_key", asked.alias("asked"), "hashes", "is_new", age.alias("age"))


def followers(requests: DataFrame, bits: int) -> DataFrame:
    """Return rows of `FOLLOWERS`: new requests that take the answer of another, their leader.

    Each hash of a follower differs from its leader's in at most `bits` of 64. A leader never
    follows: in a chain a - b - c whose ends differ more, c is sent itself.

    Args:
        requests: result of `candidates`.
        bits: from 0, which demands equal hashes.
    """
    head = F.min(F.struct("is_new", "age", "request_key")).alias("head")
    groups = requests.groupBy("asked", "hashes").agg(head)
    near = _near(groups, bits)
    busy = near.select(F.col("head").alias("other"))
    leaders = near.join(busy.distinct(), "other", "left_anti")
    chosen = leaders.groupBy("head").agg(F.min("other").alias("other"))
    led = groups.join(chosen, "head", "left").select(
        "asked", "hashes", F.coalesce("other", "head")["request_key"].alias("leader")
    )
    new = requests.where("is_new").select("request_key", "asked", "hashes")
    return (
        new.join(led, ["asked", "hashes"])
        .where("request_key <> leader")
        .select("request_key", "leader")
    )


def _near(groups: DataFrame, bits: int) -> DataFrame:
    """Return head, other: new groups with each earlier one at most `bits` away.

    Of bits + 1 disjoint parts of a hash at least one is equal in both, so only groups that share
    a part are compared.
    """
    first = F.col("hashes")[0]
    parts = F.array(*(first.bitwiseAND(F.lit(mask)) for mask in masks(bits)))
    cut = groups.select("asked", "hashes", "head", F.posexplode(parts).alias("part", "value"))
    left = cut.withColumnsRenamed({"hashes": "hashes_1", "head": "other"})
    both = cut.where("head.is_new").join(left, ["asked", "part", "value"])
    distances = F.zip_with("hashes", "hashes_1", lambda a, b: F.bit_count(a.bitwiseXOR(b)))
    is_near: Expression = F.forall(distances, lambda d: d <= bits)
    return both.where(is_near & (F.col("other") < F.col("head"))).select("head", "other").distinct()


def masks(bits: int) -> list[int]:
    """Return bits + 1 masks that share no bit and cover all, as signed 64-bit integers.

    A part takes bits from all over the picture: margins alone are alike in a shop's pictures.

    >>> [mask & 0b1111 for mask in masks(1)]
    [5, 10]
    """
    n = bits + 1
    values = (sum(1 << b for b in range(first, HASH_BITS, n)) for first in range(n))
    return [v - (1 << HASH_BITS) if v >> (HASH_BITS - 1) else v for v in values]


def copies(
    found: DataFrame, todo: DataFrame, pictures: DataFrame, descriptions: DataFrame
) -> DataFrame:
    """Return rows of `descriptions_log`, run and landing apart, for followers of what is described.

    Args:
        found: rows of `FOLLOWERS`.
        todo: result of `plan.pending`.
        pictures: result of `plan.primary_pictures`.
        descriptions: the table `descriptions`.
    """
    own = {
        "picture_hashes": F.col("own_hashes"),
        "copied_from": F.col("leader"),
        "attempt": F.col("own_attempt"),
        "described_at": F.current_timestamp(),
        "landing": F.lit(None),
    }
    # A copy took no request; those figures are the leader's.
    own |= {name: F.lit(None) for name in _OF_A_REQUEST}
    asked = todo.select("request_key", "item_id", F.col("attempt").alias("own_attempt"))
    hashes = pictures.select("item_id", F.col("pictures.sha256").alias("own_hashes"))
    answers = descriptions.where("status = 'ok'").withColumnRenamed("request_key", "leader")
    rows = found.join(asked, "request_key").join(hashes, "item_id").join(answers, "leader")
    return rows.select(
        *(own.get(name, F.col(name)).alias(name) for name in DESCRIPTIONS_LOG.column_names)
    )

"""Near-duplicates share a description, and a sample tells what the rest will take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.describe_shop import Run, Shop
from vlm4rec_spark import delta
from vlm4rec_spark.descriptions.duplicates import followers
from vlm4rec_spark.descriptions.estimate_job import estimate_stage
from vlm4rec_spark.descriptions.job import run
from vlm4rec_spark.tables import DESCRIPTIONS_LOG

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.delta import TableNames

pytestmark = [pytest.mark.spark, pytest.mark.delta]


@dataclass(frozen=True)
class Alike:
    """Runs of the stage on one shop with pictures that are nearly the same."""

    first: Run
    """The newest leads: c takes b along, which is 2 bits away, but not a, which is 3 away.

    The picture of leader, whom follower waits for, is missing; the hash of unknown is not known.
    """
    mended: Run
    """The picture of leader is there again."""
    nothing_new: Run
    commits: int
    """Of the run with nothing new."""
    one_more: Run
    """Item e, newer than d, has a picture with its hash."""
    switched_off: Run


@pytest.fixture(scope="module")
def alike(
    spark: SparkSession, shared_names: TableNames, tmp_path_factory: pytest.TempPathFactory
) -> Alike:
    names = replace(shared_names, schema=f"{shared_names.schema}_alike")
    shop = Shop(spark, names, tmp_path_factory.mktemp("alike"))
    shop.hashes = {"a": 0, "b": 0b1, "c": 0b111, "d": 0xFF << 56}
    shop.hashes |= dict.fromkeys(("follower", "leader"), 0xFFFF << 24)
    seeds = {"a": 1, "b": 2, "c": 3, "d": 4, "unknown": 5, "follower": 6, "leader": 7}
    shop.show(**seeds)
    shop.break_picture("leader")
    first = shop.describe("describe.near_duplicates=2")
    shop.mend_picture("leader")
    mended = shop.describe("describe.near_duplicates=2")
    before = sum(shop.versions())
    nothing_new = shop.describe("describe.near_duplicates=2")
    commits = sum(shop.versions()) - before
    shop.hashes["e"] = 0xFF << 56
    shop.show(**seeds, e=8)
    one_more = shop.describe("describe.near_duplicates=0")
    switched_off = shop.describe()
    spark.sql(f"DROP SCHEMA {names.qualified_schema} CASCADE")
    return Alike(first, mended, nothing_new, commits, one_more, switched_off)


def test_near_duplicates_are_described_once_and_say_whose_words_they_have(alike: Alike) -> None:
    assert alike.first.of("wanted", "described", "copied") == (7, 4, 1)
    rows = alike.first.rows
    assert rows["b"]["copied_from"] == rows["c"]["request_key"]
    assert rows["b"]["description"] == rows["c"]["description"]
    assert rows["b"]["picture_hashes"] != rows["c"]["picture_hashes"]
    assert [rows[i]["copied_from"] for i in "acd"] == [None, None, None]

    assert alike.nothing_new.of("reused", "requests", "copied") == (7, 0, 0)
    assert alike.commits == 0

    # What is described leads, even over a newer item.
    assert alike.one_more.of("requests", "copied") == (0, 1)
    assert alike.one_more.rows["e"]["copied_from"] == rows["d"]["request_key"]

    # Switched off, each gets words of its own.
    assert alike.switched_off.of("reused", "requests") == (5, 3)
    assert {row["copied_from"] for row in alike.switched_off.rows.values()} == {None}


def test_a_follower_waits_for_its_leader_and_unknown_hashes_are_sent(alike: Alike) -> None:
    assert alike.first.of("requests", "failed", "left") == (4, 1, 1)
    assert sorted(alike.first.rows) == ["a", "b", "c", "d", "leader", "unknown"]
    assert alike.first.rows["leader"]["status"] == "error"
    assert alike.first.rows["unknown"]["copied_from"] is None
    assert alike.mended.of("described", "copied", "left") == (1, 1, 0)
    rows = alike.mended.rows
    assert rows["follower"]["copied_from"] == rows["leader"]["request_key"]


@pytest.mark.parametrize("bits", [0, 3])
def test_followers_are_those_that_comparing_all_pairs_finds(spark: SparkSession, bits: int) -> None:
    rng = np.random.default_rng(bits)
    centres = rng.integers(-(2**63), 2**63, 6)
    rows = []
    for n in range(80):
        flipped = rng.choice(64, int(rng.integers(0, 4)), replace=False)
        picture = int(rng.choice(centres)) ^ sum(
            -(2**63) if bit == 63 else 2 ** int(bit) for bit in flipped
        )
        is_new = bool(rng.random() < 0.8)
        asked = "xy"[int(rng.integers(2))]
        rows.append((f"k{n:02d}", asked, [picture, 7], is_new, int(rng.integers(3))))
    ddl = "request_key STRING, asked STRING, hashes ARRAY<BIGINT>, is_new BOOLEAN, age BIGINT"
    found = followers(spark.createDataFrame(rows, ddl), bits).collect()
    assert {(r["request_key"], r["leader"]) for r in found} == by_all_pairs(rows, bits)


def by_all_pairs(rows: list[tuple[str, str, list[int], bool, int]], bits: int) -> set[Any]:
    """Return (follower, leader) by the definition; equal pictures are one to begin with."""
    groups: dict[Any, list[Any]] = {}
    for key, asked, hashes, is_new, age in rows:
        groups.setdefault((asked, tuple(hashes)), []).append((is_new, age, key))
    heads = {group: min(members) for group, members in groups.items()}

    def is_near(a: Any, b: Any) -> bool:
        pairs = zip(a[1], b[1], strict=True)
        return a[0] == b[0] and all(((x ^ y) & (2**64 - 1)).bit_count() <= bits for x, y in pairs)

    def before(group: Any) -> list[Any]:
        earlier = (g for g in groups if heads[g] < heads[group] and is_near(g, group))
        return list(earlier) if heads[group][0] else []

    pairs = set()
    for group, members in groups.items():
        leading = [heads[g] for g in before(group) if not before(g)]
        leader = min(leading, default=heads[group])[2]
        pairs |= {(key, leader) for is_new, _, key in members if is_new and key != leader}
    return pairs


def test_a_full_run_takes_what_the_estimate_of_a_sample_said(
    spark: SparkSession, names: TableNames, tmp_path: Path
) -> None:
    shop = Shop(spark, names, tmp_path)
    shop.hashes = dict.fromkeys(("k", "l", "m"), 7)
    shop.show(**{item: n for n, item in enumerate("abcdefghijklm")})
    # A token costs 1, so that few rows give figures that can be read.
    prices = ("describe.cost.input_per_million=1000000", "describe.cost.output_per_million=1000000")
    settings = ("describe.near_duplicates=0", *prices)
    lines = estimate_stage(shop.context(*settings), 6)
    pending, whole = (Told(lines, name) for name in ("Still pending", "The whole catalogue"))
    assert "pictures/s" in lines[0]
    assert (pending.requests, whole.requests) == (5, 11)  # k and l have the words of m

    full = run(shop.context(*settings))
    assert full.counts["requests"] == 5
    log = delta.read(shop.spark, DESCRIPTIONS_LOG, shop.names).collect()
    assert len({row["request_key"] for row in log}) == len(log) == 13
    every = [sum(row[name] or 0 for row in log) for name in ("tokens_in", "tokens_out")]
    rest = [full.counts[name] for name in ("tokens_in", "tokens_out")]
    for told, tokens, cost in ((pending, rest, full.figures["cost"]), (whole, every, sum(every))):
        for name, n in zip(("million tokens in", "million tokens out"), tokens, strict=True):
            low, high = told.interval(name)
            assert round(low - 0.001, 3) <= n / 1e6 <= round(high + 0.001, 3)
        low, high = told.interval("cost")
        assert low - 0.01 <= cost <= high + 0.01
        assert high < 1.2 * low


class Told:
    """One of the parts an estimate prints, read as people read it."""

    def __init__(self, lines: list[str], name: str) -> None:
        (heading,) = (n for n, line in enumerate(lines) if line.startswith(name))
        self.requests = int(lines[heading].split(": ")[1].split()[0].replace(",", ""))
        self.lines = lines[heading + 1 : heading + 6]

    def interval(self, label: str) -> tuple[float, float]:
        """Return the lowest and the highest that a figure may be."""
        (line,) = (line for line in self.lines if line.strip().startswith(label))
        low, high = line.partition("(")[2].rstrip(")").replace(",", "").split(" to ")
        return float(low), float(high)

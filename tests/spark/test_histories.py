"""Histories against a plain reading of what their settings promise."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from vlm4rec_spark.config import load_config
from vlm4rec_spark.config_models import ProfilesConfig
from vlm4rec_spark.errors import SourceError
from vlm4rec_spark.profiles import plan
from vlm4rec_spark.profiles.job import check_types
from vlm4rec_spark.topk.facts_job import MOST_SEGMENTS, take_segments

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
CONFIG = ProfilesConfig(
    half_life_days=10, min_rating=2, max_history=3,
    events={"view": 1.0, "purchase": 4.0, "return": -2.0},
)  # fmt: skip
MASK_EVENTS = ("purchase", "return")


class Event(NamedTuple):
    """A row of the log."""

    user_id: str
    item_id: str
    timestamp: datetime
    rating: float
    event_type: str

    @property
    def weight(self) -> float:
        """Before decay."""
        return CONFIG.events.get(self.event_type, 0.0) if self.rating >= 2 else 0.0


class Line(NamedTuple):
    """What a user did with an item."""

    share: float
    """Of the user's largest weight."""
    seen: bool
    n_events: int


def drawn_log() -> list[Event]:
    """Return events of eight users at moments that differ, of types of which one is unknown."""
    rng = np.random.default_rng(11)
    kinds = ("view", "view", "purchase", "return", "hover")
    return [
        Event(
            f"u{rng.integers(8)}", f"i{rng.integers(9)}", START + timedelta(hours=5 * number),
            float(rng.integers(1, 6)), kinds[rng.integers(len(kinds))],
        )
        for number in range(240)
    ]  # fmt: skip


def by_the_book(log: list[Event]) -> dict[tuple[str, str], Line]:
    """Return the line of each user and item, read off the log event by event."""
    grouped: dict[str, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in log:
        grouped[event.user_id][event.item_id].append(event)
    lines: dict[tuple[str, str], Line] = {}
    for user, items in grouped.items():
        counting = [item for item, rows in items.items() if any(event.weight for event in rows)]
        counting.sort(key=lambda item: max(e.timestamp for e in items[item]), reverse=True)
        weights = {
            item: sum(e.weight * 2.0 ** half_lives(e) for e in items[item])
            for item in counting[: CONFIG.max_history]
        }
        largest = max((abs(weight) for weight in weights.values()), default=0.0) or 1.0
        for item, rows in items.items():
            lines[user, item] = Line(
                weights.get(item, 0.0) / largest,
                any(e.event_type in MASK_EVENTS for e in rows),
                sum(e.weight != 0 for e in rows),
            )
    return lines


def half_lives(event: Event) -> float:
    """Return how many half-lives later than the first event it is."""
    return (event.timestamp - START) / timedelta(days=CONFIG.half_life_days)


@pytest.mark.spark
def test_weights_halve_with_age_and_only_known_well_rated_events_of_the_newest_items_count(
    spark: SparkSession,
) -> None:
    log = drawn_log()
    items = spark.createDataFrame([(f"i{n}",) for n in range(9)], "item_id STRING")
    events = spark.createDataFrame(
        log,
        "user_id STRING, item_id STRING, timestamp TIMESTAMP, rating DOUBLE, event_type STRING",
    )
    rows = plan.history(plan.events(events, items, CONFIG), CONFIG, MASK_EVENTS).collect()
    largest: dict[str, float] = defaultdict(float)
    for row in rows:
        largest[row["user_id"]] = max(largest[row["user_id"]], abs(row["weight"]))
    expected = by_the_book(log)
    assert {(row["user_id"], row["item_id"]) for row in rows} == set(expected)
    for row in rows:
        share, seen, n_events = expected[row["user_id"], row["item_id"]]
        assert row["weight"] / (largest[row["user_id"]] or 1.0) == pytest.approx(share, abs=1e-9)
        assert (row["seen"], row["n_events"]) == (seen, n_events)
    per_user = [sum(row["weight"] != 0 for row in rows if row["user_id"] == u) for u in largest]
    assert max(per_user) == CONFIG.max_history
    assert any(row["weight"] < 0 for row in rows)


@pytest.mark.spark
def test_every_row_of_the_log_that_lacks_something_is_counted_under_a_name_of_its_own(
    spark: SparkSession,
) -> None:
    items = spark.createDataFrame([("i0",), ("i1",)], "item_id STRING")
    rows = [
        ("a", "i0", START, 5.0), ("a", "i0", START, 5.0), ("a", "i1", START, None),
        ("b", "i1", START, 1.0), ("b", "i0", None, 5.0), (None, "i0", None, 5.0),
        ("b", "i9", START, 5.0), ("b", "i0", START + timedelta(days=1), 5.0),
    ]  # fmt: skip
    log = spark.createDataFrame(
        rows, "user_id STRING, item_id STRING, timestamp TIMESTAMP, rating DOUBLE"
    )
    config = CONFIG.model_copy(update={"now": START})
    judged = plan.events(log, items, config)
    assert plan.count_problems(judged, config) == {
        "rows": 8, "null_ids": 1, "unreadable_timestamps": 1, "future_timestamps": 1,
        "unknown_items": 1, "duplicates": 1, "events": 3, "events_without_weight": 2,
        "events_without_rating": 1, "events_of_unknown_type": 0,
    }  # fmt: skip
    assert plan.count_without_vector(judged, items.where("item_id = 'i0'")) == 2
    assert plan.count_without_vector(judged, items) == 0
    unrated = plan.events(log.drop("rating"), items, config)
    assert plan.count_problems(unrated, config)["events_without_rating"] == 0


@pytest.mark.spark
def test_event_types_that_nobody_weighs_are_named_and_refused_where_there_are_no_others(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    items = spark.createDataFrame([("i0",)], "item_id STRING")
    kinds = ["click", "click", "buy", None, "view"]
    log = spark.createDataFrame(
        [("a", "i0", START + timedelta(days=n), kind) for n, kind in enumerate(kinds)],
        "user_id STRING, item_id STRING, timestamp TIMESTAMP, event_type STRING",
    )
    config = load_config()
    judged = plan.events(log, items, config.profiles)
    check_types(plan.count_problems(judged, config.profiles), judged, config)
    assert "3 of 5 events have a type without a weight (most often 'click', 'buy'; " in caplog.text
    unknown = judged.where("event_type IN ('click', 'buy')")
    with pytest.raises(SourceError, match=r"3 of 3 .* has 'cart', 'purchase', 'view'\), so that"):
        check_types(plan.count_problems(unknown, config.profiles), unknown, config)


@pytest.mark.spark
def test_what_is_known_of_users_is_on_all_their_rows_and_those_without_events_have_one(
    spark: SparkSession,
) -> None:
    rows = spark.createDataFrame(
        [("a", "i1", 1.0, True), ("a", "i2", 0.0, True), ("b", "i1", 1.0, True)],
        "user_id STRING, item_id STRING, weight DOUBLE, seen BOOLEAN",
    )
    users = spark.createDataFrame(
        [("a", "linen"), ("c", "wool"), ("c", "silk"), (None, "x")], "user_id STRING, text STRING"
    )
    found = plan.with_users(rows, users).orderBy("user_id", "item_id").collect()
    told = [(r["user_id"], r["item_id"], r["weight"], r["text"], r["segment"]) for r in found]
    assert told == [
        ("a", "i1", 1.0, "linen", None),
        ("a", "i2", 0.0, "linen", None),
        ("b", "i1", 1.0, None, None),
        ("c", None, 0.0, "silk", None),
    ]


@pytest.mark.spark
def test_a_segment_with_a_rule_keeps_it_however_few_users_it_has(spark: SparkSession) -> None:
    users: list[tuple[str, str | None]]
    users = [(f"u{n}", f"s{n // 2:03d}") for n in range(2 * MOST_SEGMENTS)]
    users += [("rare", "zz-tiny"), ("nobody", None)]
    history = spark.createDataFrame(users, "user_id STRING, segment STRING")
    assert "zz-tiny" not in take_segments(history)
    found = take_segments(history, ["zz-tiny", "without users"])
    assert len(found) == MOST_SEGMENTS
    assert "zz-tiny" in found
    assert list(found) == sorted(found)

"""The shoppers carry a signal about what items are, and titles do not give it away."""

from __future__ import annotations

import re
import zlib
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from vlm4rec_spark.demo import shoppers
from vlm4rec_spark.demo.shop import Shop, ShopConfig, make_shop
from vlm4rec_spark.demo.shoppers import EVENTS, SCHEMA, simulate
from vlm4rec_spark.demo.tastes import BLOCKS, item_codes, make_shelf

Matrix = npt.NDArray[np.float64]
CONFIG = ShopConfig()
COLD_DAYS = 45
K = 10


@cache
def _world() -> tuple[Shop, pa.Table]:
    shop = make_shop(CONFIG)
    return shop, pa.concat_tables(simulate(shop))


def _indices(table: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    users = [int(text[1:]) for text in table["user_id"].to_pylist()]
    items = [int(text[1:]) - 1 for text in table["item_id"].to_pylist()]
    return np.array(users), np.array(items)


class Trial:
    """Recall of items first seen in the last days, with all interactions with them left out."""

    def __init__(self) -> None:
        shop, table = _world()
        self.shop = shop
        first_day = np.array([item.first_day for item in shop.items])
        is_cold = first_day >= CONFIG.days - COLD_DAYS
        self.cold = np.flatnonzero(is_cold)
        users, items = _indices(table)
        events = np.array(table["event_type"].to_pylist())
        shape = (CONFIG.users, len(shop.items))
        self.history = np.zeros(shape)
        np.add.at(self.history, (users[~is_cold[items]], items[~is_cold[items]]), 1.0)
        self.history = np.log1p(self.history)
        wanted = np.zeros(shape, bool)
        chosen = is_cold[items] & (events != "view")
        wanted[users[chosen], items[chosen]] = True
        self.wanted = wanted[:, self.cold]
        self.known = self.wanted.any(1) & self.history.any(1)

    def recall(self, scores: Matrix) -> float:
        """Return recall@K over shoppers who chose a cold item; `scores` is (users, cold items)."""
        wanted = self.wanted[self.known]
        best = np.argsort(-scores[self.known], axis=1, kind="stable")[:, :K]
        hits = np.take_along_axis(wanted, best, axis=1).sum(1)
        return float((hits / np.minimum(wanted.sum(1), K)).mean())

    def profiles(self, vectors: Matrix) -> Matrix:
        """Score cold items by the mean vector of what a shopper has looked at."""
        centred = vectors - vectors.mean(0)
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        unit = centred / np.maximum(lengths, 1e-9)
        return np.asarray(self.history @ unit @ unit[self.cold].T)

    def type_popularity(self) -> Matrix:
        """Score cold items by how popular their type is, the same for everybody."""
        types = item_codes(self.shop.items)["type"]
        per_item = self.history.sum(0)
        warm = np.setdiff1d(np.arange(len(types)), self.cold)
        counts = np.maximum(np.bincount(types[warm], minlength=len(BLOCKS["type"])), 1)
        means = np.bincount(types[warm], per_item[warm], len(BLOCKS["type"])) / counts
        return np.broadcast_to(means[types[self.cold]], self.wanted.shape)


def _one_hot(shop: Shop) -> Matrix:
    codes = item_codes(shop.items)
    return np.hstack([np.eye(len(BLOCKS[block]))[codes[block]] for block in codes])


def _bags(shop: Shop) -> Matrix:
    bags = np.zeros((len(shop.items), 512))
    for n, item in enumerate(shop.items):
        for word in re.findall(r"[a-z]+", item.title.lower()):
            bags[n, zlib.crc32(word.encode()) % 512] += 1
    return bags


def test_profiles_of_true_attributes_find_cold_items_and_titles_do_not() -> None:
    trial = Trial()
    truth = trial.recall(trial.profiles(_one_hot(trial.shop)))
    titles = trial.recall(trial.profiles(_bags(trial.shop)))
    chance = trial.recall(np.random.default_rng(0).random(trial.wanted.shape))
    popular = trial.recall(trial.type_popularity())
    assert trial.known.sum() > 400
    assert chance == pytest.approx(K / len(trial.cold), abs=0.04)
    assert truth > 3 * chance
    assert truth > 2 * popular
    assert truth > 2 * titles


def test_rows_are_those_of_an_event_log() -> None:
    shop, table = _world()
    assert table.schema == SCHEMA
    start = np.datetime64(CONFIG.start.replace(tzinfo=None), "us")
    moments = np.asarray(table["timestamp"]).astype("datetime64[us]")
    assert moments.min() >= start
    assert moments.max() < start + np.timedelta64(CONFIG.days, "D")
    counts = {e: pc.sum(pc.equal(table["event_type"], e)).as_py() for e in EVENTS}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert counts["purchase"] > CONFIG.users
    rated = table.filter(pc.is_valid(table["rating"]))
    assert set(rated["event_type"].to_pylist()) == {"purchase"}
    assert set(rated["rating"].to_pylist()) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    users, items = _indices(table)
    days = (moments - start) / np.timedelta64(1, "D")
    assert np.all(days >= np.array([i.first_day for i in shop.items])[items])
    assert len(np.unique(users)) > 0.99 * CONFIG.users


def test_new_items_are_bought() -> None:
    shop, table = _world()
    bought = table.filter(pc.equal(table["event_type"], "purchase"))
    _, items = _indices(bought)
    late = np.array([item.first_day >= CONFIG.days - COLD_DAYS for item in shop.items])
    assert late[items].sum() > 100


def test_a_shopper_buys_one_of_a_style() -> None:
    shop, table = _world()
    users, items = _indices(table.filter(pc.equal(table["event_type"], "purchase")))
    styles = make_shelf(shop).style_no[items]
    assert len(set(zip(users.tolist(), styles.tolist(), strict=True))) == len(users)


def test_coats_sell_in_autumn_and_linen_in_summer() -> None:
    shop, table = _world()
    _, items = _indices(table)
    warm = make_shelf(shop).warmth[items]
    moments = np.asarray(table["timestamp"]).astype("datetime64[M]").astype(int) % 12
    there_at_first = np.array([item.first_day == 0 for item in shop.items])[items]
    summer, autumn = (warm[there_at_first & (moments == m)].mean() for m in (6, 9))
    assert autumn > summer + 0.05


def test_rows_are_the_same_every_time_and_any_batch_size_covers_everyone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = make_shop(ShopConfig(items=50, users=90))
    first, again = (pa.concat_tables(simulate(shop)) for _ in range(2))
    assert first.equals(again)
    monkeypatch.setattr(shoppers, "USERS_A_BATCH", 40)
    batches = list(simulate(shop))
    assert len(batches) == 3
    seen = set(pa.concat_tables(batches)["user_id"].to_pylist())
    assert len(seen) > 80
    assert max(seen) == "U000089"

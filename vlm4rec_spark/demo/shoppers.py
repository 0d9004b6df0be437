"""Simulated shoppers: they react to what an item *is*, never to what a model says about it.

How they behave: `interests` many interests exist, each a taste over the true style, occasion (room
for home items), material, colour, type and price band. A shopper has one or several of them, in
shares that drift over the period. A session serves one interest: items come up by that taste times
popularity, season and novelty (some by chance), the shopper clicks what also pleases personally
(own colours, own price band), puts some of it into the cart and buys some of that. Of a style's
variants, and of a thing listed twice, a shopper buys only one.

Cost: interests x weeks x items to set up, then a binary search per event; batches of shoppers keep
the memory flat, so any number of them works.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlm4rec_spark.demo.tastes import (
    Floats,
    Ints,
    Shelf,
    Tastes,
    appeal,
    liking,
    make_likings,
    make_personal,
    make_shelf,
)

if TYPE_CHECKING:
    from vlm4rec_spark.demo.settings import ShopConfig
    from vlm4rec_spark.demo.shop import Shop

Bools = npt.NDArray[np.bool_]
EVENTS = ("view", "click", "cart", "purchase")
CHANCES = {"click": (-2.4, 0.7), "cart": (-1.7, 0.35), "purchase": (-1.3, 0.35)}
"""Log-odds of the next step for an item of average liking, and what each point of liking adds."""
DEAR = 0.3
"""How much less (log-odds) something of the next price band is bought."""
MIDSUMMER = 200
"""Day of the year on which warm things come up least."""
FADE_DAYS = 14.0
"""Days after which an item's novelty is down to about a third."""
RATED_SHARE = 0.33
USERS_A_BATCH = 20_000
DAY = 86_400
WEEK = 7 * DAY
SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("rating", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Looks:
    """One entry per item looked at; `seconds` count from the start of the period.

    `user` counts from 0 within the batch; entries are in order of user and time.
    """

    user: Ints
    item: Ints
    interest: Ints
    seconds: Ints


@dataclass(frozen=True)
class Crowd:
    """A batch of shoppers: interests (users, most), their shares at start and end, first day."""

    interests: Ints
    shares: tuple[Floats, Floats]
    arrival: Floats
    activity: Floats


def simulate(shop: Shop) -> Iterator[pa.Table]:
    """Yield the interactions, batch by batch of shoppers, in order of shopper and time.

    Columns as in `SCHEMA`; about a third of the purchases have a `rating` (1 to 5), nothing else
    has. The same configuration gives the same rows.
    """
    config, shelf = shop.config, make_shelf(shop)
    likings = make_likings(config)
    for first in range(0, config.users, USERS_A_BATCH):
        n_users = min(USERS_A_BATCH, config.users - first)
        rng = np.random.default_rng([config.seed, 3, first])
        tastes = Tastes(likings, make_personal(n_users, config, rng))
        looks = _looks(_crowd(n_users, config, rng), shelf, likings, config, rng)
        yield _events(looks, first, shelf, tastes, shop, rng)


def _crowd(n_users: int, config: ShopConfig, rng: np.random.Generator) -> Crowd:
    most = config.interests_per_user
    owned = rng.integers(1, most + 1, n_users)[:, None] > np.arange(most)
    shares = []
    for _ in range(2):
        raw = rng.gamma(1.5, 1.0, (n_users, most)) * owned
        shares.append(raw / raw.sum(1, keepdims=True))
    is_late = rng.random(n_users) < config.late_share
    return Crowd(
        interests=rng.integers(0, config.interests, (n_users, most)),
        shares=(shares[0], shares[1]),
        arrival=np.where(is_late, rng.uniform(0, 0.9, n_users), 0.0) * config.days,
        activity=rng.lognormal(-0.32, 0.8, n_users),
    )


def _looks(
    crowd: Crowd,
    shelf: Shelf,
    likings: dict[str, Floats],
    config: ShopConfig,
    rng: np.random.Generator,
) -> Looks:
    n_sessions = 1 + rng.poisson(np.maximum(config.sessions - 1, 0) * crowd.activity)
    user = np.repeat(np.arange(len(n_sessions)), n_sessions)
    arrival = crowd.arrival[user]
    day = np.floor(arrival + rng.random(len(user)) * (config.days - arrival))
    # Most people shop in the evening; nobody's session runs past midnight by much.
    hour = np.clip(rng.normal(18, 3.5, len(user)), 0.0, 22.0)
    begin = np.minimum(day, config.days - 1) * DAY + (hour * 3600).astype(np.int64)
    interest = _interest(crowd, user, begin / (config.days * DAY), rng)
    order = np.lexsort((begin, user))
    n_views = 1 + rng.poisson(max(config.views - 1, 0), len(user))
    session = np.repeat(order, n_views[order])
    starts = np.cumsum(n_views[order]) - n_views[order]
    place = np.arange(len(session)) - np.repeat(starts, n_views[order])
    seconds = (begin[session] + place * 90 + rng.integers(0, 60, len(session))).astype(np.int64)
    item = _items(interest[session], seconds, shelf, likings, config, rng)
    is_there = shelf.first_day[item] * DAY <= seconds
    rows = session[is_there]
    return Looks(user[rows], item[is_there], interest[rows], seconds[is_there])


def _interest(crowd: Crowd, user: Ints, moment: Floats, rng: np.random.Generator) -> Ints:
    """Choose the interest of each session; `moment` is 0 at the start, 1 at the end."""
    early, late = crowd.shares
    shares = early[user] + (late[user] - early[user]) * moment[:, None]
    passed = rng.random(len(user))[:, None] > np.cumsum(shares, axis=1)
    place = np.minimum(passed.sum(1), shares.shape[1] - 1)
    return crowd.interests[user, place]


def _items(
    interest: Ints,
    seconds: Ints,
    shelf: Shelf,
    likings: dict[str, Floats],
    config: ShopConfig,
    rng: np.random.Generator,
) -> Ints:
    """Choose what comes up: by interest and week, or by chance; it may not be there yet."""
    week = seconds // WEEK
    n_weeks = int(week.max()) + 1
    key = interest * n_weeks + week
    order = np.argsort(key, kind="stable")
    bounds = np.flatnonzero(np.diff(key[order], prepend=-1, append=-1))
    item = np.empty(len(key), np.int64)
    moods = [_mood(shelf, w, config) for w in range(n_weeks)]
    liked, last = np.empty(0), -1
    for begin, end in pairwise(bounds):
        rows = order[begin:end]
        which, now = divmod(int(key[rows[0]]), n_weeks)
        if which != last:
            liked, last = np.exp(appeal(shelf, likings, which)), which
        sums = np.cumsum(liked * moods[now])
        item[rows] = np.searchsorted(sums, rng.random(len(rows)) * sums[-1], side="right")
    by_chance = rng.random(len(key)) < config.noise
    item[by_chance] = rng.integers(0, len(shelf.style_no), int(by_chance.sum()))
    return np.minimum(item, len(shelf.style_no) - 1)


def _mood(shelf: Shelf, week: int, config: ShopConfig) -> Floats:
    """Return how often each item comes up in a week for all alike; 0 before it exists."""
    day = 7.0 * week
    date = config.start.timetuple().tm_yday + day
    heat = np.cos(2 * np.pi * (date - MIDSUMMER) / 365)
    age = np.maximum(day - shelf.first_day, 0)
    new = config.novelty * np.exp(-age / FADE_DAYS) * (shelf.first_day > 0)
    weight = np.exp(shelf.popularity - config.season * heat * shelf.warmth + new)
    return weight * (shelf.first_day < day + 7)


def _events(
    looks: Looks,
    first_user: int,
    shelf: Shelf,
    tastes: Tastes,
    shop: Shop,
    rng: np.random.Generator,
) -> pa.Table:
    """Let the shoppers act on what they look at, and return all of it as rows."""
    liked = liking(shelf, tastes, looks.user, looks.interest, looks.item)
    rows, steps, moments = _steps(looks, liked, shelf, rng)
    user, item = looks.user[rows], looks.item[rows]
    start = np.int64(shop.config.start.timestamp() * 1_000_000)
    stars = np.clip(np.round(3.0 + 0.4 * liked[rows] + rng.normal(0, 0.8, len(rows))), 1, 5)
    is_rated = (steps == EVENTS.index("purchase")) & (rng.random(len(rows)) < RATED_SHARE)
    order = np.lexsort((steps, item, moments, user))
    items = pa.array([i.item_id for i in shop.items])
    users = pa.array([f"U{first_user + n:06d}" for n in range(int(user.max(initial=0)) + 1)])
    columns = [
        users.take(pa.array(user[order])),
        items.take(pa.array(item[order])),
        pa.array(start + moments[order] * 1_000_000).cast(SCHEMA.field("timestamp").type),
        pa.array(EVENTS).take(pa.array(steps[order])),
        pa.array(stars[order], mask=~is_rated[order]),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _steps(
    looks: Looks, liked: Floats, shelf: Shelf, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Return the rows of `looks`, the step (index into `EVENTS`) and the second of every event."""
    goes_on = np.ones(len(liked), bool)
    dear = DEAR * (shelf.codes["band"][looks.item] - 1)
    rows, steps, moments = (
        [np.arange(len(liked))],
        [np.zeros(len(liked), np.int64)],
        [looks.seconds],
    )
    for step, name in enumerate(EVENTS[1:], 1):
        odds, slope = CHANCES[name]
        chance = 1 / (1 + np.exp(-(odds + slope * liked - (dear if step > 1 else 0))))
        goes_on = goes_on & (rng.random(len(liked)) < chance)
        if name == "purchase":
            goes_on = _first_of_style(goes_on, looks, shelf)
        done = np.flatnonzero(goes_on)
        rows.append(done)
        steps.append(np.full(len(done), step, np.int64))
        moments.append(looks.seconds[done] + 15 * step)
    return np.concatenate(rows), np.concatenate(steps), np.concatenate(moments)


def _first_of_style(bought: Bools, looks: Looks, shelf: Shelf) -> Bools:
    """Keep a shopper's first purchase of a style."""
    done = np.flatnonzero(bought)
    pairs = looks.user[done] * (int(shelf.style_no.max()) + 1) + shelf.style_no[looks.item[done]]
    _, first = np.unique(pairs, return_index=True)
    kept = np.zeros_like(bought)
    kept[done[first]] = True
    return kept

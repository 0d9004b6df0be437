"""The catalogue has the oddities it says, in the shares it says."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from vlm4rec_spark.demo.products import NONE, contrast
from vlm4rec_spark.demo.shop import BROKEN_KINDS, Item, ShopConfig, make_shop, recolour

CONFIG = ShopConfig()
SHOP = make_shop(CONFIG)
BY_ID = {item.item_id: item for item in SHOP.items}


def test_the_same_configuration_gives_the_same_catalogue() -> None:
    assert make_shop(CONFIG).items == SHOP.items
    assert make_shop(replace(CONFIG, seed=1)).items != SHOP.items


def test_ids_are_unique_and_follow_the_day_of_appearance() -> None:
    assert len(BY_ID) == CONFIG.items
    assert list(BY_ID) == sorted(BY_ID)
    days = [item.first_day for item in SHOP.items]
    assert days == sorted(days)
    assert set(days) <= set(range(CONFIG.days))
    assert days.count(0) == pytest.approx(0.4 * CONFIG.items, rel=0.2)


def test_one_per_cent_of_the_pictures_is_broken_in_every_way() -> None:
    kinds = Counter(item.broken for item in SHOP.items if item.broken)
    assert kinds.total() == round(0.01 * CONFIG.items)
    assert set(kinds) == set(BROKEN_KINDS)


def test_duplicates_share_picture_and_truth_with_an_earlier_whole_item() -> None:
    copies = [item for item in SHOP.items if item.duplicate_of]
    assert len(copies) == round(CONFIG.duplicate_share * CONFIG.items)
    for item in copies:
        original = BY_ID[item.duplicate_of or ""]
        assert item.picture_seed == original.picture_seed
        assert (item.product, item.view) == (original.product, original.view)
        assert item.first_day >= original.first_day
        assert item.broken is original.broken is None


def test_variants_of_a_group_differ_in_colour_alone() -> None:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in SHOP.items:
        if item.variant_group:
            groups[item.variant_group].append(item)
    assert sum(len(group) - 1 for group in groups.values()) == round(0.3 * CONFIG.items)
    for group in groups.values():
        products = [item.product for item in group]
        assert len(set(products)) == len(products) > 1
        assert len({(p.type, p.pattern, p.material, p.cut, p.finish) for p in products}) == 1


def test_a_variant_keeps_the_contrast_of_its_colours() -> None:
    rng = np.random.default_rng(0)
    for item in SHOP.items[:100]:
        other = recolour(item.product, (), rng)
        assert {other.colour, other.second_colour} != {
            item.product.colour,
            item.product.second_colour,
        }
        if other.second_colour != NONE:
            assert contrast(other.colour, other.second_colour) > 110


def test_views_prices_and_stock_are_those_of_a_shop() -> None:
    views = Counter(item.view for item in SHOP.items)
    assert views["clear"] > 0.9 * CONFIG.items
    assert min(views["close-up"], views["dark"]) >= 5
    assert all(item.price >= 9 for item in SHOP.items)
    assert 0.01 < np.mean([item.stock == 0 for item in SHOP.items]) < 0.1
    assert 0 < sum(item.brand is None for item in SHOP.items) < 0.1 * CONFIG.items


def test_price_bands_are_thirds_within_a_type() -> None:
    dresses = [n for n, item in enumerate(SHOP.items) if item.product.type == "dress"]
    prices = np.array([SHOP.items[n].price for n in dresses])
    bands = SHOP.bands[dresses]
    assert prices[bands == 0].max() <= prices[bands == 2].min()
    assert np.bincount(bands).max() - np.bincount(bands).min() <= 1


@pytest.mark.parametrize("items", [1, 3, 40])
def test_a_small_shop_works_too(items: int) -> None:
    assert len(make_shop(ShopConfig(items=items)).items) == items


def test_shares_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="leave no item"):
        make_shop(ShopConfig(items=10, variant_share=1.0))

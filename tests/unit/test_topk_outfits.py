"""Outfits: what completes an item, against a slow and plain reading of the same sentence."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.topk_pieces import WORDS, clustered
from vlm4rec_spark.config import attribute_folders, load_config
from vlm4rec_spark.descriptions.requests import SchemaBook
from vlm4rec_spark.descriptions.schema import AttributeSchema, load_attributes, parse_attributes
from vlm4rec_spark.descriptions.specs import schema_book
from vlm4rec_spark.embeddings.encoders import encode_texts, encoder_spec
from vlm4rec_spark.errors import ConfigError, InvariantError
from vlm4rec_spark.topk import outfits
from vlm4rec_spark.topk.outfits import completed
from vlm4rec_spark.topk.plan import completions
from vlm4rec_spark.topk.ranking import Ranked
from vlm4rec_spark.topk.snapshot import Snapshot
from vlm4rec_spark.topk.wardrobe import hang

FILE: dict[str, Any] = {
    "name": "shop",
    "instructions": "Look.",
    "fields": {
        "type": {"ask": "what", "values": ["dress", "shirt", "skirt", "boot", "bag"]},
        "style": {"ask": "style", "values": ["classic", "sporty", "other"]},
        "occasion": {"ask": "occasion", "values": ["office", "gym"]},
    },
    "description": {"ask": "words", "max_words": 5},
    "outfit": {
        "slot_of": "type",
        "keep": ["style", "occasion"],
        "slots": {"dress": ["dress"], "top": ["shirt"], "bottom": ["skirt"], "shoes": ["boot"]},
        "goes_with": {"dress": ["shoes"], "top": ["bottom", "shoes"], "shoes": ["bottom"]},
    },
}
PARTNERS = {
    "dress": {"shoes"}, "top": {"bottom", "shoes"}, "bottom": {"top", "shoes"},
    "shoes": {"dress", "top", "bottom"},
}  # fmt: skip
SLOT = {"dress": "dress", "shirt": "top", "skirt": "bottom", "boot": "shoes"}
Row = dict[str, str]


def schema(**outfit: object) -> AttributeSchema:
    return parse_attributes({**FILE, "outfit": {**FILE["outfit"], **outfit}}, "shop.yml")


def shop(
    rows: list[Row], vectors: npt.NDArray[np.float32] | None = None, seed: int = 0
) -> Snapshot:
    n = len(rows)
    rng = np.random.default_rng(seed)
    columns = {
        "item_id": [f"i{i:02d}" for i in range(n)],
        "title": [f"Item {i}" for i in range(n)],
        "category": pa.nulls(n, pa.string()),
        "words": pa.array([list(row.items()) for row in rows], WORDS),
    }
    allowed = rng.random((1, n)) < 0.8 if vectors is None else np.ones((1, n), bool)
    vectors = clustered(rng, n, 6, 4) if vectors is None else vectors
    return Snapshot.of(pa.table(columns), vectors, allowed)


def table(state: Snapshot, book: SchemaBook, k: int, parts: tuple[int, ...] = ()) -> list[Row]:
    wardrobe, order = hang(state, book)
    edges = sorted({0, len(order), *(min(part, len(order)) for part in parts)})
    return [
        row
        for part in pairwise(edges)
        for found in completed(state, wardrobe, order, part, k)
        for row in completions(state, wardrobe, found).to_pylist()
    ]


def plainly(state: Snapshot, rows: list[Row], k: int) -> dict[str, list[tuple[str, float]]]:
    """Return target -> complements with their scores, item by item in numpy."""
    slots = [SLOT.get(row.get("type", "")) for row in rows]
    means = {s: state.vectors[[x == s for x in slots]].mean(0) for s in set(slots) if s}
    kept = [(r.get("style"), r.get("occasion")) for r in rows]
    placed = [i for i, s in enumerate(slots) if s and all(kept[i]) and kept[i][0] != "other"]
    left = {i: state.vectors[i].astype(float) - means[slots[i] or ""] for i in placed}
    norms = {i: float(np.linalg.norm(v)) for i, v in left.items()}
    left = {i: v / norms[i] if norms[i] > 1e-6 else np.zeros_like(v) for i, v in left.items()}
    lists = {}
    for i in placed:
        ranked = []
        for slot in PARTNERS[slots[i] or ""]:
            others = [j for j in placed if slots[j] == slot and kept[j] == kept[i]]
            scores = {j: float(left[i] @ left[j]) for j in others if state.allowed[0, j]}
            best = sorted(scores, key=lambda j: (-scores[j], j))
            ranked += [(turn, -scores[j], j) for turn, j in enumerate(best)]
        lists[f"i{i:02d}"] = [(f"i{j:02d}", -less) for _, less, j in sorted(ranked)][:k]
    return {target: items for target, items in lists.items() if items}


DESCRIBED = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["dress", "shirt", "skirt", "boot", "bag"]),
            "style": st.sampled_from(["classic", "sporty", "other"]),
            "occasion": st.sampled_from(["office", "gym"]),
        },
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60)
@given(DESCRIBED, st.integers(0, 9), st.integers(1, 6), st.lists(st.integers(0, 40), max_size=3))
def test_complements_are_what_the_sentence_says_whatever_the_partitions(
    rows: list[Row], seed: int, k: int, parts: list[int]
) -> None:
    state, book = shop(rows, seed=seed), SchemaBook(schema())
    found: dict[str, list[tuple[str, float]]] = {}
    whole = table(state, book, k)
    for row in whole:
        pair = (row["item_id"], float(row["score"]))
        found.setdefault(row["target_item_id"], []).append(pair)
    wanted = plainly(state, rows, k)
    assert set(found) == set(wanted)
    everything = plainly(state, rows, len(rows))
    for target, pairs in found.items():
        # By score: items that differ in the last digits only may change places.
        scores = [score for _, score in pairs]
        assert scores == pytest.approx([score for _, score in wanted[target]], abs=1e-5)
        assert len({item for item, _ in pairs}) == len(pairs)
        for item, score in pairs:
            assert score == pytest.approx(dict(everything[target])[item], abs=1e-5)
    in_parts = table(state, book, k, tuple(parts))
    key = ("target_item_id", "rank")
    assert sorted(in_parts, key=lambda r: [r[c] for c in key]) == sorted(
        whole, key=lambda r: [r[c] for c in key]
    )


def test_slots_take_turns_and_each_row_says_what_it_adds() -> None:
    office = {"style": "classic", "occasion": "office"}
    kinds = ["shirt", "boot", "boot", "skirt", "skirt", "bag"]
    rows = [{"type": kind, **office} for kind in kinds]
    rows.append({"type": "boot", "style": "sporty", "occasion": "office"})
    state = shop(rows, clustered(np.random.default_rng(1), len(rows), 6, 4))
    found = [r for r in table(state, SchemaBook(schema()), 3) if r["target_item_id"] == "i00"]
    assert [row["slot"] for row in found].count("shoes") in {1, 2}
    assert {found[0]["slot"], found[1]["slot"]} == {"shoes", "bottom"}
    assert "i06" not in {row["item_id"] for row in found}
    assert found[0]["reason"].endswith("; both: classic, office.")
    assert found[0]["reason"].startswith(f"Adds {found[0]['slot']}")


def test_of_a_large_cell_the_most_popular_items_are_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outfits, "MOST_CANDIDATES", 2)
    office = {"style": "classic", "occasion": "office"}
    rows = [{"type": "dress", **office}, *({"type": "boot", **office} for _ in range(5))]
    state = shop(rows, clustered(np.random.default_rng(1), 6, 6, 4))
    state.popularity[0] = [0, 1, 5, 2, 7, 3]
    found = table(state, SchemaBook(schema()), 5)
    assert {r["item_id"] for r in found if r["target_item_id"] == "i00"} == {"i02", "i04"}


def test_shoes_for_a_red_dress_are_red_and_so_for_every_colour() -> None:
    words = {"style": "classic", "occasion": "office"}
    said = {
        "dress": "A {} silk dress with a floral pattern for the office.",
        "boot": "{} leather boots with a heel for the office.",
    }
    kinds = [(kind, colour) for kind in said for colour in ("red", "emerald", "navy", "white")]
    texts = [said[kind].format(colour).capitalize() for kind, colour in kinds]
    vectors = encode_texts(encoder_spec(load_config("demo")), texts)
    state = shop([{"type": kind, **words} for kind, _ in kinds], vectors)
    best = {r["target_item_id"]: r["item_id"] for r in table(state, SchemaBook(schema()), 1)}
    assert best == {f"i{n:02d}": f"i{(n + 4) % 8:02d}" for n in range(8)}


def test_an_outfit_with_mistakes_names_them_all() -> None:
    with pytest.raises(ConfigError) as caught:
        schema(
            keep=["style", "ocasion"],
            slots={"dress": ["dress", "boots"], "top": ["shirt"], "shoes": ["shirt"]},
            goes_with={"dress": ["shose"], "top": ["top"]},
        )
    for mistake in (
        "no field 'ocasion'; did you mean 'occasion'?",
        "'boots' is no value of type; did you mean 'boot'?",
        "'shirt' stands in two slots",
        "no slot 'shose'; did you mean 'shoes'?",
        "slot 'top' cannot go with itself",
    ):
        assert mistake in str(caught.value)
    with pytest.raises(ConfigError, match="expected a mapping with slot_of, keep, slots"):
        parse_attributes({**FILE, "outfit": {"slots": {}}}, "shop.yml")
    with pytest.raises(ConfigError, match="unknown key 'outfits'; did you mean 'outfit'"):
        parse_attributes({**FILE, "outfits": {}}, "shop.yml")


def test_the_shipped_files_place_every_type_and_an_outfit_never_changes_a_request() -> None:
    for name in ("fashion", "home"):
        loaded = load_attributes(name, attribute_folders(Path("conf/attributes")))
        assert loaded.outfit is not None
        placed = {value for _, values in loaded.outfit.slots for value in values}
        assert placed == set(next(f for f in loaded.fields if f.name == "type").values)
        for slot, _ in loaded.outfit.slots:
            for partner in loaded.outfit.partners(slot):
                assert slot in loaded.outfit.partners(partner)
    assert schema_book(load_config("demo")).schema_for("Lighting").outfit is not None


def test_a_completion_that_holds_what_it_may_not_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"type": t, "style": "classic", "occasion": "gym"} for t in ("dress", "boot", "boot")]
    state = shop(rows, np.eye(3, 6, dtype=np.float32))
    monkeypatch.setattr(outfits, "ranked", lambda *_: Ranked(np.array([[0, 0]]), np.ones((1, 2))))
    with pytest.raises(InvariantError, match="twice"):
        table(state, SchemaBook(schema()), 4)

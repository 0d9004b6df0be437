"""Canonical columns out of any source's columns: what is missing is named."""

from __future__ import annotations

import pytest

from vlm4rec_spark.catalog.columns import expressions
from vlm4rec_spark.errors import SourceError

SEEN = {"sku": "int", "Name": "string", "photo": "array<string>", "raw": "binary", "w": "double"}


def test_names_are_found_but_for_case_and_free_columns_become_a_map() -> None:
    made = expressions(
        SEEN,
        {"item_id": "sku", "title": "name", "brand": None, "attributes": ("w",)},
        "sources.items",
    )
    assert [sql.rpartition(" AS ")[2] for sql in made] == ["`item_id`", "`title`", "`attributes`"]
    assert "`Name`" in made[1]


def test_every_missing_column_is_named_with_what_there_is() -> None:
    columns = {"item_id": "skuu", "title": "label", "image": ("photo", "foto")}
    with pytest.raises(SourceError) as caught:
        expressions(SEEN, columns, "sources.items")
    message = str(caught.value)
    assert "'skuu' (mapped to item_id) is missing; did you mean 'sku'?" in message
    assert "'label' (mapped to title)" in message
    assert "'foto' (mapped to image) is missing; did you mean 'photo'?" in message
    assert "The source has: sku, Name, photo, raw, w." in message


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"item_id": "w"}, "column 'w' is double; an id is a string or an integer"),
        ({"image": ("photo", "raw")}, "'photo' is array<string>, 'raw' is binary"),
        ({"image": "w"}, "expected text or bytes"),
    ],
)
def test_a_type_that_does_not_fit_is_an_error(columns: dict[str, object], words: str) -> None:
    with pytest.raises(SourceError, match=r"^sources\.items: ") as caught:
        expressions(SEEN, columns, "sources.items")
    assert words in str(caught.value)


def test_a_columns_own_name_cannot_end_its_quotes() -> None:
    made = expressions({"a`b'c": "string"}, {"attributes": ("a`b'c",)}, "sources.items")
    assert "`a``b'c`" in made[0]
    assert "'a`b\\'c'" in made[0]

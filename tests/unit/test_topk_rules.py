"""Rules are parsed, checked, and written anew; nothing else of their text reaches Spark."""

from __future__ import annotations

import pytest

from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.topk.rules import parse_rules

ATTRIBUTES = ("occasion", "material", "colour")


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("price<200", "`price` < 200"),
        (
            "attributes.occasion.value = 'beach wedding' -- or so",
            "`attributes`.`occasion`.`value` = 'beach wedding'",
        ),
        ("brand in ('a', 'it\\'s')", "`brand` IN ('a', 'it\\'s')"),
        ("source.margin > 3 or available", "`source`.`margin` > 3 OR `available`"),
    ],
)
def test_a_rule_is_written_anew_from_what_was_parsed(text: str, sql: str) -> None:
    assert parse_rules([text], ATTRIBUTES)[0].sql == sql


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pric < 2", "did you mean 'price'"),
        ("attributes.ocasion.value = 'x'", "did you mean 'occasion'"),
        ("attributes.occasion = 'x'", "expected attributes.NAME.value"),
        ("price <", "missing"),
        ("price", "expected a condition"),
        ("price + 1", "expected a condition"),
        ("price < 1; DROP TABLE items", "one condition"),
        ("brand IN (SELECT brand FROM other)", "'Select' may not"),
        ("reflect('java.lang.System', 'exit')", "'Anonymous' may not"),
        ("EXISTS (SELECT 1)", "'Exists' may not"),
        ("price < (SELECT 1)", "may not"),
        ("", "one condition"),
    ],
)
def test_what_is_no_plain_condition_over_known_columns_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)topk\.rules.*" + said.replace("(", r"\(")):
        parse_rules([text], ATTRIBUTES)


def test_a_further_column_that_the_source_does_not_give_is_refused_where_these_are_known() -> None:
    assert parse_rules(["source.margin > 3"], ATTRIBUTES, sources=["margin"])
    with pytest.raises(ConfigError, match=r"'source.margn'; did you mean 'margin'"):
        parse_rules(["source.margn > 3"], ATTRIBUTES, sources=["margin"])


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse_rules(["pric < 2", "branda = 'x' AND prise > 1"], ATTRIBUTES)
    assert all(word in str(error.value) for word in ("pric", "branda", "prise"))

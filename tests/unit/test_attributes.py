"""Attribute files: what the model is asked, what it may answer, and what is kept of an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlm4rec_spark.config import attribute_folders
from vlm4rec_spark.descriptions.answers import Answer, AnswerError, parse_answer
from vlm4rec_spark.descriptions.prompts import system_prompt
from vlm4rec_spark.descriptions.schema import (
    AttributeSchema,
    json_schema,
    load_attributes,
    parse_attributes,
)
from vlm4rec_spark.errors import ConfigError

SHIPPED = ("fashion", "home", "generic")
FILE: dict[str, Any] = {
    "name": "shop",
    "instructions": "Look.",
    "fields": {"colour": {"ask": "the colour", "values": ["red", "blue"]}},
    "description": {"ask": "a description", "max_words": 5},
}


@pytest.fixture(params=SHIPPED)
def schema(request: pytest.FixtureRequest) -> AttributeSchema:
    return load_attributes(request.param, attribute_folders())


def answer(schema: AttributeSchema, description: str, **values: str) -> Answer:
    """Return what is kept of an answer that shows nothing but these values."""
    hidden = {field.name: "not visible" for field in schema.fields}
    return parse_answer(json.dumps({**hidden, **values, "description": description}), schema, None)


def test_a_description_has_at_most_60_words_and_ends_with_a_sentence_where_one_ends(
    schema: AttributeSchema,
) -> None:
    def words(n: int) -> str:
        return " ".join(["soft"] * n)

    assert answer(schema, words(60)).description == words(60)
    assert answer(schema, words(61)).description == words(60)
    two_sentences = f"{words(44)} wool. {words(16)}"
    assert answer(schema, two_sentences).description == f"{words(44)} wool."
    assert answer(schema, f"Soft wool! {words(70)}").description == f"Soft wool! {words(58)}"
    assert answer(schema, f"{words(59)} wool. More").description == f"{words(59)} wool."
    assert answer(schema, f"  Warm\n {words(5)} ").description == f"Warm {words(5)}"


def test_every_attribute_may_be_not_visible_and_is_then_none(schema: AttributeSchema) -> None:
    assert answer(schema, "A thing.").attributes == {field.name: None for field in schema.fields}
    first = schema.fields[0]
    value = first.values[0] if first.values else "tall lamp"
    assert answer(schema, "A thing.", **{first.name: value}).attributes[first.name] == value
    assert answer(schema, "A thing.", **{first.name: " "}).attributes[first.name] is None


def test_the_answers_schema_allows_the_values_of_the_file_and_not_visible_and_no_other(
    schema: AttributeSchema,
) -> None:
    for category in schema.variants():
        fields = schema.fields_for(category)
        asked = json_schema(schema, category)
        assert asked["required"] == list(asked["properties"]) == [field.name for field in fields]
        assert asked["additionalProperties"] is False
        for field in fields:
            allowed = {"enum": [*field.values, "not visible"]} if field.values else {}
            assert asked["properties"][field.name] == {"type": "string", **allowed}


def test_the_prompt_holds_every_question_with_its_allowed_values_or_its_limit(
    schema: AttributeSchema,
) -> None:
    for category in schema.variants():
        prompt = system_prompt(schema, category)
        lines = prompt.splitlines()
        assert lines[0] == schema.instructions
        assert "'not visible'" in lines[1]
        fields = schema.fields_for(category)
        for line, field in zip(lines[2:], fields, strict=True):
            question, _, limit = line.rpartition("; ")
            assert question == f"- {field.name}: {field.ask}"
            if field.values:
                assert limit.removeprefix("one of ").split(", ") == list(field.values)
            else:
                assert limit == f"at most {field.max_words} words"
    assert prompt.count("at most 60 words") == 1


def test_a_field_is_asked_of_its_categories_and_of_items_without_one() -> None:
    fashion = load_attributes("fashion", attribute_folders())
    for category, is_asked in (("Dresses", True), (None, True), ("Bags", False), ("", False)):
        assert ("- sleeves: " in system_prompt(fashion, category)) is is_asked
        assert ("sleeves" in json_schema(fashion, category)["properties"]) is is_asked


@pytest.mark.parametrize(
    ("text", "stage", "code"),
    [
        ("I see a hat.", "parse", "no_json"),
        ('{"colour": "red"', "parse", "no_json"),
        ('{"colour": red}', "parse", "bad_json"),
        ('{"description": "A hat."}', "validate", "missing_key"),
        ('{"colour": true, "description": "A hat."}', "validate", "not_text"),
        ('{"colour": "rust", "description": "A hat."}', "validate", "unknown_value"),
        ('{"colour": "red", "description": "not visible"}', "validate", "empty_description"),
    ],
)
def test_an_answer_that_does_not_fit_says_where_and_why(text: str, stage: str, code: str) -> None:
    with pytest.raises(AnswerError) as caught:
        parse_answer(text, parse_attributes(FILE, "shop.yml"), None)
    assert (caught.value.stage, caught.value.code) == (stage, code)


def test_text_around_an_answer_is_ignored() -> None:
    text = 'Sure!\n```json\n{"colour": " blue ", "description": "A hat."}\n```'
    found = parse_answer(text, parse_attributes(FILE, "shop.yml"), None)
    assert found == Answer("A hat.", {"colour": "blue"})


def test_a_field_may_say_its_type_which_must_fit_what_it_has() -> None:
    def with_field(**field: object) -> AttributeSchema:
        fields = {"colour": {"ask": "the colour", **field}}
        return parse_attributes({**FILE, "fields": fields}, "shop.yml")

    assert with_field(type="choice", values=["red"]) == with_field(values=["red"])
    assert with_field(type="text", max_words=3) == with_field(max_words=3)
    for kind, has in (("text", {"values": ["red"]}), ("choice", {"max_words": 3})):
        with pytest.raises(ConfigError, match=f"colour: type is '{kind}'; expected 'choice' with"):
            with_field(type=kind, **has)
    with pytest.raises(ConfigError, match=r"type is 'boolean'.*for yes or no.*list the words"):
        with_field(type="boolean", values=["yes"])


def fields(text: str) -> str:
    """Return a file that asks for these fields, in YAML's flow style."""
    ask = "ask: a description, max_words: 5"
    return f"name: shop\ninstructions: Look.\nfields: {text}\ndescription: {{{ask}}}\n"


def field(text: str) -> str:
    """Return a file with one field, `waterproof`."""
    return fields(f"{{waterproof: {{ask: is it, {text}}}}}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: [shop", "is not valid YAML: line 1, column 12: expected ',' or ']'"),
        ("name: shop\n\tfields: {}", "is not valid YAML: line 2, column 1: found character"),
        ("name: 2026-13-01", "is not valid YAML: month must be in 1..12"),
        ("name: \x07", "is not valid YAML: unacceptable character #x0007"),
        ("- shop", "expected a mapping with name, instructions, fields"),
        (fields("[colour, size]"), "fields: expected a mapping such as {colour: {ask: the colour"),
        (fields("colour"), "max_words: 3}} (found str)"),
        (fields("{1: {ask: x, max_words: 3}}"), "the name 1 is no text: put it in quotes"),
        (fields("{on: {ask: x, max_words: 3}}"), "the name True is no text: put it in quotes"),
        (fields("{description: {ask: x, max_words: 3}}"), "give this field another name"),
        (fields("{colour: red}"), "field colour: expected 'ask' and 'values' or 'max_words'"),
        (field("values: red"), "'values' must be a list, as in [red, sky blue] (found 'red')"),
        (field("values: 3"), "'values' must be a list, as in [red, sky blue] (found 3)"),
        (field("values: [yes, no]"), "(found True, False): put it in quotes (YAML takes yes, no"),
        (field("values: [36, red]"), "'values' must hold text alone (found 36): put it in quotes"),
        (field("values: [red, null]"), "'values' must hold text alone (found None)"),
        (field("values: [red, red]"), "a value stands twice"),
        (field("values: []"), "'values' needs a value besides 'not visible'"),
        (field("values: [not visible]"), "'values' needs a value besides 'not visible'"),
        (field("values: [red], max_words: 3"), "give either 'values' (a list) or 'max_words'"),
        (field("type: text"), "give either 'values' (a list) or 'max_words' (a number)"),
        (field("max_words: 0"), "'max_words' must be a whole number, 1 or more (found 0)"),
        (field("max_words: -3"), "'max_words' must be a whole number, 1 or more (found -3)"),
        (field("max_words: 2.5"), "'max_words' must be a whole number, 1 or more (found 2.5)"),
        (field("max_words: '8'"), "'max_words' must be a whole number, 1 or more (found '8')"),
        (field("max_words: yes"), "'max_words' must be a whole number, 1 or more (found True)"),
        (field("max_words: 3, categories: Bags"), "'categories' must be a list"),
        (field("max_words: 3, on: 4"), "field waterproof: the key True is no text: put it in"),
        (field("max_word: 3"), "unknown key 'max_word'; did you mean 'max_words'?"),
        (fields("{x: {ask: [a], max_words: 3}}"), "field x: 'ask' must be text (found ['a'])"),
        (fields("{}") + "off: 1\n", "fields is missing; the key False is no text"),
        (fields("{a b: {ask: x, max_words: 3}}") + "outfit: {1: 2}", "outfit: expected a mapping"),
    ],
)
def test_what_is_wrong_in_a_file_of_one_s_own_is_told_in_a_line(
    text: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_attributes("shop", (tmp_path,))
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_in_a_file_is_told_at_once() -> None:
    size, cut = {"ask": "x", "values": "S"}, {"max_words": 0}
    fields = {1: {}, "description": {}, "size": size, "cut": cut}
    with pytest.raises(ConfigError) as caught:
        parse_attributes({"name": True, "fields": fields, "filds": {}}, "shop.yml")
    for told in (
        "instructions is missing", "description is missing", "unknown key 'filds'",
        "name must be text (found True)", "the name 1 is no text", "'description' stands beside",
        "field size: 'values' must be a list", "field cut: 'ask' is missing",
        "field cut: 'max_words' must be a whole number",
    ):  # fmt: skip
        assert str(caught.value).count(told) == 1


def test_a_file_in_another_encoding_or_without_leave_to_read_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.yml"
    path.write_bytes("name: shop\ninstructions: Schätze.".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(line 2 holds the byte 0xe4\); save it"):
        load_attributes(str(path), ())

    def refused(*_: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(ConfigError, match="yml cannot be read: Permission denied"):
        load_attributes(str(path), ())


def test_not_visible_may_be_listed_and_stands_once_in_what_is_allowed() -> None:
    values = ["red", "not visible", "Not  visible", "sky  blue"]
    fields = {"colour": {"ask": "the colour", "values": values}}
    schema = parse_attributes({**FILE, "fields": fields}, "shop.yml")
    allowed = json_schema(schema, None)["properties"]["colour"]["enum"]
    assert allowed == ["red", "sky blue", "not visible"]
    assert answer(schema, "A hat.", colour="sky blue").attributes == {"colour": "sky blue"}


def test_words_in_quotes_are_values_whatever_yaml_takes_them_for(tmp_path: Path) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(fields("{'on': {ask: is it, values: ['yes', 'no', '36']}}"), "utf-8")
    (only,) = load_attributes(str(path), ()).fields
    assert (only.name, only.values) == ("on", ("yes", "no", "36"))

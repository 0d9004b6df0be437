"""Attribute files: what the model is asked, what it may answer, and what is kept of an answer."""

from __future__ import annotations

import json
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

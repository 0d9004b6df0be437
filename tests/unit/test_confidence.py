from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm4rec_spark.descriptions.confidence import (
    calibration_error,
    reliability,
    value_confidences,
)

HALF, SURE = math.log(0.5), 0.0


def test_a_value_is_as_sure_as_all_its_tokens_together() -> None:
    tokens = [(b'{"colour":"', SURE), (b"sky", HALF), (b" blue", HALF), (b'","', SURE)]
    tokens += [(b'type":"hat', HALF), (b'"}', SURE), (b"</s>", SURE)]
    found = value_confidences('{"colour":"sky blue","type":"hat"}', tokens)
    assert found == pytest.approx({"colour": 0.25, "type": 0.5})


def test_free_text_is_as_sure_as_its_middle_token() -> None:
    tokens = [(b'{"details": "', SURE), (b"long", HALF), (b" and", HALF), (b" wide", HALF)]
    tokens += [(b'"}', SURE)]
    found = value_confidences('{"details": "long and wide"}', tokens, frozenset({"details"}))
    assert found == pytest.approx({"details": 0.5})


def test_quotes_and_colons_inside_a_value_name_no_other_key() -> None:
    text = r'{"a": "x\\\", \"b\": \"y", "b": "z"}'
    tokens = [(bytes([byte]), HALF if byte == ord("z") else SURE) for byte in text.encode()]
    assert value_confidences(text, tokens) == pytest.approx({"a": 1.0, "b": 0.5})


def test_tokens_that_are_parts_of_a_character_are_put_together() -> None:
    text = '{"a": "é"}'
    tokens = [(bytes([byte]), HALF) for byte in text.encode()]
    assert value_confidences(text, tokens) == pytest.approx({"a": 0.25})


def test_tokens_that_do_not_spell_the_answer_say_nothing() -> None:
    assert value_confidences('{"a": "x"}', [(b"something else", SURE)]) == {}
    assert value_confidences('{"a": "x"}', []) == {}


@given(st.text(), st.lists(st.tuples(st.binary(max_size=3), st.floats(-20, 0)), max_size=30))
def test_any_answer_gives_confidences_between_0_and_1(
    text: str, tokens: list[tuple[bytes, float]]
) -> None:
    spelled = b"".join(token for token, _ in tokens).decode("utf-8", "ignore")
    for answer in (text, spelled):
        found = value_confidences(answer, tokens)
        assert all(0 <= sure <= 1 for sure in found.values())


def test_the_calibration_error_of_a_modest_model_by_hand() -> None:
    table = reliability([0.95, 0.95, 0.15, 0.15], [True, True, False, True])
    assert [(row.n, row.accuracy) for row in table] == [(2, 0.5), (2, 1.0)]
    assert calibration_error(table) == pytest.approx(0.5 * 0.35 + 0.5 * 0.05)
    assert calibration_error([]) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_the_reliability_table_keeps_every_row(rows: list[tuple[float, bool]]) -> None:
    table = reliability([sure for sure, _ in rows], [right for _, right in rows])
    assert sum(row.n for row in table) == len(rows)
    assert 0 <= calibration_error(table) <= 1

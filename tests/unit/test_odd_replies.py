"""Whatever an endpoint answers, and whatever goes wrong with one row, is a row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_worker import Scripted, pending, picture, spec_with
from vlm4rec_spark.descriptions import describer
from vlm4rec_spark.descriptions.confidence import value_confidences
from vlm4rec_spark.descriptions.engine import (
    FETCH,
    GENERATE,
    INTERNAL,
    REQUEST,
    SETTLED_CODES,
    SETTLED_STAGES,
    EngineFailure,
    Reply,
)
from vlm4rec_spark.descriptions.replies import HttpAnswer, Refusal, read_answer
from vlm4rec_spark.descriptions.worker import describe_rows, describing
from vlm4rec_spark.errors import EngineError
from vlm4rec_spark.tables import DESCRIPTIONS_LOG

TOKEN = {"token": '{"a":"x"}', "bytes": list(b'{"a":"x"}'), "logprob": -0.5}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 4},
}
WHOLE: dict[str, Any] = {
    "choices": [
        {
            "message": {"content": '{"a":"x"}', "refusal": None},
            "finish_reason": "stop",
            "logprobs": {"content": [TOKEN]},
        }
    ],
    "usage": USAGE,
}
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000

TEXT = st.text(st.characters(), max_size=5)  # halves of characters, too
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))
Place = tuple[str | int, ...]


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Yield the way to each part of a JSON value."""
    yield here
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*here, key))


def changed(value: Any, place: Place, new: Any) -> Any:
    """Return the value with another part at that place."""
    if not place:
        return new
    first, *rest = place
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[first] = changed(value[first], tuple(rest), new)
    return copy


def read(data: Any) -> Reply | Refusal:
    return read_answer(HttpAnswer(200, json.dumps(data).encode()), 1.0)


@given(st.sampled_from(list(places(WHOLE))), JSON)
def test_an_odd_value_at_any_place_gives_what_a_table_takes(place: Place, odd: Any) -> None:
    found = read(changed(WHOLE, place, odd))
    if isinstance(found, Refusal):
        assert found.failure.code in {"bad_reply", "empty"}
        pa.array([found.failure.message], pa.string())
    else:
        pa.array([found.text], pa.string())
        pa.array([found.tokens_in, found.tokens_cached, found.tokens_out], pa.int32())
        sure = value_confidences(found.text, found.tokens).values()
        assert all(0 <= confidence <= 1 for confidence in sure)


@given(st.integers(100, 599), st.binary() | JSON.map(lambda j: json.dumps(j).encode()), st.text())
def test_any_content_of_any_status_gives_a_refusal(
    status: int, content: bytes, retry_after: str
) -> None:
    found = read_answer(HttpAnswer(status, content, retry_after), 1.0)
    assert isinstance(found, Refusal)
    assert 0 <= found.wait_s <= 120
    pa.array([found.failure.message], pa.string())


def test_what_is_nested_too_deeply_is_no_completion() -> None:
    for status, code in ((200, "bad_reply"), (500, "http_500")):
        found = read_answer(HttpAnswer(status, DEEP.encode()), 1.0)
        assert isinstance(found, Refusal)
        assert found.failure.code == code


def test_a_wait_until_a_moment_that_no_clock_knows_is_none() -> None:
    moment = "Mon, 01 Jan 2029 00:00:00 +99999999999999999999"
    found = read_answer(HttpAnswer(429, b"", moment), 1.0)
    assert isinstance(found, Refusal)
    assert found.wait_s == 0


def with_content(content: Any) -> Any:
    return changed(WHOLE, ("choices", 0, "message", "content"), content)


def test_of_an_answer_in_blocks_only_the_text_counts() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Red?"}]}
    found = read(
        with_content([thought, {"type": "text", "text": "{"}, {"type": "text", "text": "}"}])
    )
    assert isinstance(found, Reply)
    assert found.text == "{}"
    silent = read(with_content([thought]))
    assert isinstance(silent, Refusal)
    assert (silent.failure.stage, silent.failure.code) == (GENERATE, "empty")


@pytest.mark.parametrize(
    "content",
    [7, 0, True, {"text": "x"}, ["x"], [{"text": "x"}], [{"type": "text", "text": None}]],
)
def test_content_of_another_kind_is_no_completion(content: Any) -> None:
    found = read(with_content(content))
    assert isinstance(found, Refusal)
    assert found.failure.code == "bad_reply"


@pytest.mark.parametrize("odd", [[1], "x", None, -1, 2**40, math.inf, math.nan, {}])
def test_an_odd_figure_is_unknown_and_leaves_the_others(odd: Any) -> None:
    def figures(place: Place) -> tuple[int, int, int]:
        found = read(changed(WHOLE, place, odd))
        assert isinstance(found, Reply)
        return found.tokens_in, found.tokens_cached, found.tokens_out

    assert figures(("usage",)) == (0, 0, 0)
    assert figures(("usage", "prompt_tokens")) == (0, 4, 2)
    assert figures(("usage", "prompt_tokens_details")) == (9, 0, 2)


def test_odd_log_probabilities_tell_nothing() -> None:
    place: Place = ("choices", 0, "logprobs", "content", 0)
    for name, odd in (("logprob", math.nan), ("logprob", 10**400), ("bytes", 10**15)):
        found = read(changed(WHOLE, (*place, name), odd))
        assert isinstance(found, Reply)
        assert found.tokens == ()
    rounded = read(changed(WHOLE, (*place, "logprob"), 1e-7))
    assert isinstance(rounded, Reply)
    assert rounded.tokens[0][1] == 0


def described(folder: Path, engine: Scripted) -> dict[str, Any]:
    """Return the row, as it goes into the table, of one request."""
    spec = spec_with(engine, folder)
    rows = pa.RecordBatch.from_pylist([pending("k", picture(folder, "a.png", (9, 9, 9)))])
    (batch,) = describing(spec)(iter([rows]))
    assert batch.schema == DESCRIPTIONS_LOG.arrow_schema()
    (row,) = batch.to_pylist()
    return dict(row)


def test_an_answer_that_is_nested_too_deeply_is_an_error_of_parse(tmp_path: Path) -> None:
    row = described(tmp_path, Scripted(lambda _: Reply(DEEP, "stop", 1, 0, 1, 1.0)))
    assert (row["stage"], row["error_code"]) == ("parse", "bad_json")
    assert "nested too deeply" in row["error_message"]


def test_half_a_character_in_an_answer_does_not_keep_it_from_its_table(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Reply:
        asked = body["response_format"]["json_schema"]["schema"]["properties"]
        says = dict.fromkeys(asked, "not visible") | {"description": "A hat \ud83d."}
        return Reply(json.dumps(says), "stop", 1, 0, 1, 1.0)

    row = described(tmp_path, Scripted(answer))
    assert (row["status"], row["description"]) == ("ok", "A hat ?.")


def raising(error: Exception) -> Scripted:
    def answer(_: dict[str, Any]) -> Reply | EngineFailure:
        raise error

    return Scripted(answer)


def test_an_error_nobody_foresaw_is_a_row_that_is_asked_again(tmp_path: Path) -> None:
    error = KeyError("odd\n" + "https://me:pw@host/a?sig=abc " * 9 + "x" * 999)
    row = described(tmp_path, raising(error))
    assert (row["status"], row["stage"], row["error_code"]) == ("error", GENERATE, INTERNAL)
    assert row["error_message"].startswith("KeyError at test_odd_replies.py:")
    assert len(row["error_message"]) <= 400
    assert not any(secret in row["error_message"] for secret in ("pw", "abc"))
    assert INTERNAL not in SETTLED_CODES
    assert not {FETCH, REQUEST, GENERATE} & set(SETTLED_STAGES)


def test_an_error_on_the_way_names_its_stage_and_keeps_what_was_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("broken")

    engine = Scripted(lambda _: Reply("{}", "stop", 9, 0, 2, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(describer, "parse_answer", broken)
        row = described(tmp_path, engine)
    assert (row["stage"], row["tokens_in"], row["tokens_out"]) == (GENERATE, 9, 2)
    monkeypatch.setattr(describer, "read_picture", broken)
    row = described(tmp_path, engine)
    assert (row["stage"], row["error_code"], row["tokens_in"]) == (FETCH, INTERNAL, None)


def test_an_engine_that_is_gone_ends_the_task(tmp_path: Path) -> None:
    shown = picture(tmp_path, "a.png", (9, 9, 9))
    spec = spec_with(raising(EngineError("died 4 times")), tmp_path)
    with pytest.raises(EngineError, match="died 4 times"):
        list(describe_rows(spec, [pending("k", shown)]))

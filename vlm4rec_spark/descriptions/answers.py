"""From the model's text to typed attributes, or to an error with a stage, a code and a message."""

from __future__ import annotations

import json
from dataclasses import dataclass

from vlm4rec_spark.descriptions.engine import storable
from vlm4rec_spark.descriptions.schema import NOT_VISIBLE, AttributeSchema, Field


@dataclass(frozen=True)
class Answer:
    """A checked answer; an attribute that is not visible has the value None."""

    description: str
    attributes: dict[str, str | None]


class AnswerError(ValueError):
    """The text is no answer to what was asked; `stage` is 'parse' or 'validate'."""

    def __init__(self, stage: str, code: str, message: str) -> None:
        """Keep stage and code apart from the message, for counting."""
        super().__init__(message)
        self.stage = stage
        self.code = code


def parse_answer(text: str, schema: AttributeSchema, category: str | None) -> Answer:
    """Check an answer against the fields asked for.

    Text around the JSON object (a code fence, say) is ignored, as unguided models add it.

    Raises:
        AnswerError: no JSON object, a missing key, or a value that is not allowed.
    """
    data = _json_object(text)
    values = {f.name: _value(data, f) for f in schema.fields_for(category)}
    description = values.pop(schema.description.name)
    if description is None:
        raise AnswerError("validate", "empty_description", "the description is empty")
    return Answer(description, values)


def _json_object(text: str) -> dict[str, object]:
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise AnswerError("parse", "no_json", "the answer holds no JSON object")
    try:
        data = json.loads(text[start : end + 1])
    except ValueError as error:
        raise AnswerError("parse", "bad_json", f"the answer is not JSON: {error}") from None
    except RecursionError:
        raise AnswerError("parse", "bad_json", "the answer's JSON is nested too deeply") from None
    if not isinstance(data, dict):
        raise AnswerError("parse", "no_json", "the answer is not a JSON object")
    return data


def _value(data: dict[str, object], field: Field) -> str | None:
    if field.name not in data:
        raise AnswerError("validate", "missing_key", f"the key '{field.name}' is missing")
    value = data[field.name]
    if not isinstance(value, str):
        raise AnswerError("validate", "not_text", f"'{field.name}' is not a string")
    words = storable(value).split()
    cleaned = " ".join(words)
    if not cleaned or cleaned == NOT_VISIBLE:
        return None
    if field.values and cleaned not in field.values:
        raise AnswerError(
            "validate", "unknown_value", f"'{field.name}' has the unknown value {cleaned[:80]!r}"
        )
    if field.max_words and len(words) > field.max_words:
        return _shortened(words, field.max_words)
    return cleaned


def _shortened(words: list[str], most: int) -> str:
    """Return the first words, up to the end of a sentence where that keeps at least half.

    >>> _shortened("A red hat. Made of soft wool.".split(), 5)
    'A red hat.'
    """
    ends = (n for n in range(most, (most - 1) // 2, -1) if words[n - 1].endswith((".", "!", "?")))
    return " ".join(words[: next(ends, most)])

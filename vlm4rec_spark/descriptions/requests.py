"""What is asked for one item: its identity (the request key) and the body that is sent."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from vlm4rec_spark.descriptions.prompts import system_prompt, user_prompt
from vlm4rec_spark.descriptions.schema import AttributeSchema, Field, json_schema


@dataclass(frozen=True)
class Picture:
    """One picture of an item: where its bytes are, and their sha256 in hexadecimal digits."""

    uri: str
    sha256: str


@dataclass(frozen=True)
class Request:
    """One thing to ask; requests with an equal key have an equal answer."""

    request_key: str
    pictures: tuple[Picture, ...]
    category: str | None = None
    title: str | None = None
    attempt: int = 1


@dataclass(frozen=True)
class SchemaBook:
    """Which attribute file is used for which category."""

    default: AttributeSchema
    categories: tuple[tuple[str, AttributeSchema], ...] = ()

    def schema_for(self, category: str | None) -> AttributeSchema:
        """Return the attribute file of a category; the default one where none is named."""
        return dict(self.categories).get(category or "", self.default)


@dataclass(frozen=True)
class RequestRules:
    """Everything but the item that decides what is sent; equal rules give equal requests.

    `resize_rule` names the code that makes the pictures ready, `max_side` is in pixels. With
    `two_stage` an item without a category is asked for that first.
    """

    schemas: SchemaBook
    model: str
    revision: str
    max_tokens: int
    temperature: float | None
    guided: bool
    use_title: bool
    resize_rule: str
    max_side: int
    two_stage: bool = False
    limit_name: str = "max_tokens"
    """The name under which `max_tokens` is sent."""

    @property
    def model_id(self) -> str:
        """The model and its revision in one word."""
        return f"{self.model}@{self.revision}" if self.revision else self.model

    def first_stage(self) -> RequestRules:
        """Return the rules of the question for the category, whose answer is the description."""
        names = tuple(name for name, _ in self.schemas.categories)
        question = Field("category", "the department of the shop it belongs to", values=names)
        schema = AttributeSchema("category", "Sort this product by its picture.", (), question)
        return replace(self, schemas=SchemaBook(schema), two_stage=False)

    def decode_params(self) -> dict[str, Any]:
        """Return the fields of the body that steer decoding."""
        steady = {} if self.temperature is None else {"temperature": self.temperature}
        return {**steady, self.limit_name: self.max_tokens}


def digest(*parts: object) -> str:
    """Return the sha256 of the parts; JSON keeps ("ab", "c") apart from ("a", "bc")."""
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


@lru_cache(maxsize=4096)
def _static_parts(rules: RequestRules, category: str | None) -> tuple[str, str]:
    """Return the system prompt and the schema text; hundreds of items share one category."""
    if rules.two_stage and category is None:
        # The answer may come from any of them.
        second = replace(rules, two_stage=False)
        categories = (None, *(name for name, _ in rules.schemas.categories))
        every = [_static_parts(second, each) for each in categories]
        prompts, schemas = zip(_static_parts(rules.first_stage(), None), *every, strict=True)
        return "\n".join(prompts), "\n".join(schemas)
    schema = rules.schemas.schema_for(category)
    # The keys keep their order: a guided model answers in it, so it is part of the request.
    return system_prompt(schema, category), json.dumps(json_schema(schema, category))


def prompt_version(rules: RequestRules, category: str | None) -> str:
    """Return a short name of the words and the answer's schema sent with every such item."""
    return digest(*_static_parts(rules, category))[:12]


def params_hash(rules: RequestRules) -> str:
    """Return a short name of the decode parameters and the resize rule."""
    return digest(rules.decode_params(), rules.guided, _sizes(rules))[:12]


def _sizes(rules: RequestRules) -> list[object]:
    return [rules.resize_rule, rules.max_side]


def _user_words(rules: RequestRules, title: str | None) -> str:
    return user_prompt(title if rules.use_title else None)


def request_key(
    rules: RequestRules, hashes: Sequence[str], category: str | None, title: str | None
) -> str:
    """Return the identity of a request: 64 hexadecimal digits.

    It changes with a picture, the order of pictures, a word of the prompt, the schema, the model,
    the decode parameters and the resize rule, and with nothing else.
    """
    system, schema_text = _static_parts(rules, category)
    return digest(
        list(hashes),
        [system, _user_words(rules, title)],
        schema_text,
        rules.model_id,
        [rules.decode_params(), rules.guided],
        _sizes(rules),
    )


def picture_id(rules: RequestRules, sha256: str) -> str:
    """Return the name under which a server may cache a prepared picture."""
    return f"{sha256}-{rules.max_side}"


def chat_body(
    rules: RequestRules, request: Request, jpegs: Sequence[bytes], *, name_pictures: bool
) -> dict[str, Any]:
    """Build the body of an OpenAI chat request: one static system message, pictures, words.

    Args:
        rules: what is asked of every item.
        request: the item's part.
        jpegs: prepared pictures, in the order of `request.pictures`.
        name_pictures: send content hashes as `uuid`, which only our own vLLM server understands.
    """
    schema = rules.schemas.schema_for(request.category)
    parts: list[dict[str, Any]] = []
    for picture, jpeg in zip(request.pictures, jpegs, strict=True):
        url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        part: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
        if name_pictures:
            part["uuid"] = picture_id(rules, picture.sha256)
        parts.append(part)
    parts.append({"type": "text", "text": _user_words(rules, request.title)})
    body: dict[str, Any] = {
        "model": rules.model,
        "messages": [
            {"role": "system", "content": _static_parts(rules, request.category)[0]},
            {"role": "user", "content": parts},
        ],
        **rules.decode_params(),
    }
    if rules.guided:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": schema.name,
                "strict": True,
                "schema": json_schema(schema, request.category),
            },
        }
    return body

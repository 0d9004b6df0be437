from __future__ import annotations

import asyncio
import hashlib
import io
import json
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from vlm4rec_spark.catalog.fetch import FetchSpec
from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions import fake
from vlm4rec_spark.descriptions.describer import WorkerSpec
from vlm4rec_spark.descriptions.engine import STAGES, EngineFailure, EngineSpec, Reply
from vlm4rec_spark.descriptions.fake import FAULTS, FakeSpec
from vlm4rec_spark.descriptions.progress import ProgressSpec, so_far, stop
from vlm4rec_spark.descriptions.requests import request_key
from vlm4rec_spark.descriptions.specs import worker_spec
from vlm4rec_spark.descriptions.window import WindowLimits
from vlm4rec_spark.descriptions.worker import _weight, describe_rows, describing, keyed
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.tables import DESCRIPTIONS_LOG

CONFIG = load_config(None, ["describe.engine.kind=fake", "describe.attributes=fashion"])


def spec_with(engine: EngineSpec, base: Path) -> WorkerSpec:
    spec = worker_spec(CONFIG, "run")
    return WorkerSpec(spec.rules, engine, "fake", FetchSpec(base=str(base)), spec.run_id, window=16)


Answerer = Callable[[dict[str, Any]], Reply | EngineFailure]


class Scripted:
    """An engine whose answers are given by a function of the request's body."""

    def __init__(self, answer: Answerer) -> None:
        self.answer, self.bodies = answer, list[dict[str, Any]]()

    def open(self) -> Any:
        return self

    async def complete(self, body: dict[str, Any], _key: str) -> Reply | EngineFailure:
        self.bodies.append(body)
        await asyncio.sleep(0)
        return self.answer(body)

    def sample(self) -> None:
        """Nothing to look at."""

    async def aclose(self) -> None:
        """Nothing to give back."""


def picture(folder: Path, name: str, colour: tuple[int, int, int]) -> dict[str, Any]:
    out = io.BytesIO()
    Image.new("RGB", (20, 30), colour).save(out, "PNG")
    (folder / name).write_bytes(out.getvalue())
    return {"uri": name, "sha256": hashlib.sha256(out.getvalue()).hexdigest(), "content": None}


def pending(key: str, *pictures: dict[str, Any]) -> dict[str, Any]:
    return {
        "request_key": key,
        "category": "Dresses",
        "title": None,
        "attempt": 1,
        "pictures": list(pictures),
    }


def batches(rows: list[dict[str, Any]], size: int) -> list[pa.RecordBatch]:
    return list(pa.Table.from_pylist(rows).to_batches(max_chunksize=size))


def test_a_task_gives_one_row_for_each_request_over_many_batches(tmp_path: Path) -> None:
    shown = picture(tmp_path, "a.png", (200, 0, 0))
    rows = [pending(f"k{i}", shown) for i in range(150)]
    run = describing(pickle.loads(pickle.dumps(spec_with(FakeSpec(latency_ms=1), tmp_path))))
    out = list(run(iter(batches(rows, 7))))
    table = pa.Table.from_batches(out)
    assert table.schema == DESCRIPTIONS_LOG.arrow_schema()
    assert sorted(table["request_key"].to_pylist()) == sorted(f"k{i}" for i in range(150))
    assert set(table["status"].to_pylist()) == {"ok"}
    first = table.to_pylist()[0]
    assert 0 < dict(first["attributes"])["colour"]["confidence"] <= 1
    assert first["description"]
    assert first["run_id"] == "run"


def test_a_task_says_how_far_it_is_before_it_ends(tmp_path: Path) -> None:
    shown = picture(tmp_path, "a.png", (200, 0, 0))
    rows = [pending(f"k{i}", shown) for i in range(200)]
    folder = tmp_path / "progress"
    progress = ProgressSpec(str(folder), 0.0)
    spec = replace(spec_with(FakeSpec(), tmp_path), progress=progress, partition=3)
    out = describing(spec)(iter(batches(rows, 50)))
    assert next(out).num_rows == so_far([str(folder)]).described == 64
    assert sum(batch.num_rows for batch in out) + 64 == so_far([str(folder)]).described == 200
    assert [path.name for path in folder.iterdir()] == ["3.json"]


def test_no_request_opens_no_engine(tmp_path: Path) -> None:
    class Closed:
        def open(self) -> Any:
            raise AssertionError("opened")

    spec = spec_with(Closed(), tmp_path)
    assert list(describing(spec)(iter([]))) == []


def test_each_fault_ends_in_an_error_row_with_its_stage(tmp_path: Path) -> None:
    shown = picture(tmp_path, "a.png", (0, 0, 200))
    stages = {}
    for fault in FAULTS:
        engine = FakeSpec(fault_rate=1.0, faults=(fault,))
        (row,) = describe_rows(spec_with(engine, tmp_path), [pending("k", shown)])
        assert row["status"] == "error"
        assert row["error_code"]
        assert row["error_message"]
        stages[fault] = row["stage"]
        if fault in {"truncate", "babble", "wrong_value"}:
            assert row["raw_text"]
    assert stages == {
        "refuse": "request",
        "busy": "request",
        "truncate": "truncated",
        "babble": "parse",
        "wrong_value": "validate",
        "silence": "generate",
    }


def test_bad_pictures_become_rows_of_stage_fetch_or_decode(tmp_path: Path) -> None:
    good = picture(tmp_path, "good.png", (1, 2, 3))
    changed = {**good, "sha256": "0" * 64}
    broken_bytes = (tmp_path / "good.png").read_bytes()[:50]
    broken = {
        "uri": None,
        "sha256": hashlib.sha256(broken_bytes).hexdigest(),
        "content": broken_bytes,
    }
    rows = [
        pending("good", good),
        pending("missing", {**good, "uri": "none.png"}),
        pending("changed", changed),
        pending("broken", broken),
        pending("outside", {**good, "uri": "../../etc/passwd"}),
    ]
    found = {r["request_key"]: r for r in describe_rows(spec_with(FakeSpec(), tmp_path), rows)}
    assert {k: r.get("stage") for k, r in found.items()} == {
        "good": None,
        "missing": "fetch",
        "changed": "fetch",
        "broken": "decode",
        "outside": "fetch",
    }
    assert all(r["stage"] in STAGES for r in found.values() if r["status"] == "error")


def test_fake_answers_depend_on_the_request_only(tmp_path: Path) -> None:
    shown = picture(tmp_path, "a.png", (0, 9, 0))
    rows = [pending(f"k{i}", shown) for i in range(60)]
    engine = FakeSpec(seed=3, fault_rate=0.3)
    keep = ("request_key", "status", "stage", "description", "raw_text")

    def outcome(order: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        found = describe_rows(spec_with(engine, tmp_path), order)
        return sorted((tuple(r.get(c) for c in keep) for r in found), key=repr)

    assert outcome(rows) == outcome(rows[::-1])
    assert Counter(r[1] for r in outcome(rows))["error"] in range(8, 30)


def test_request_keys_are_made_by_batch_and_null_without_pictures() -> None:
    rows = pa.RecordBatch.from_pylist(
        [
            {"item_id": "1", "category": "Hats", "title": "x", "hashes": ["a"]},
            {"item_id": "2", "category": None, "title": None, "hashes": None},
            {"item_id": "3", "category": None, "title": None, "hashes": ["a"]},
        ]
    )
    (out,) = keyed(worker_spec(CONFIG, "run").rules)(iter([rows]))
    keys = out.to_pydict()["request_key"]
    assert keys[1] is None
    assert keys[0]
    assert keys[2]
    assert keys[0] != keys[2]


def test_a_truncated_answer_is_asked_for_once_more_with_twice_the_room(tmp_path: Path) -> None:
    engine = Scripted(lambda body: Reply('{"ty', "length", 90, 10, body["max_tokens"], 5.0))
    shown = picture(tmp_path, "a.png", (9, 9, 9))
    (row,) = describe_rows(spec_with(engine, tmp_path), [pending("k", shown)])
    assert [body["max_tokens"] for body in engine.bodies] == [256, 512]
    assert (row["stage"], row["error_code"], row["raw_text"]) == ("truncated", "length", '{"ty')
    assert (row["tokens_in"], row["tokens_cached"], row["tokens_out"]) == (180, 20, 768)
    assert row["latency_ms"] == 10.0


def test_a_hosted_model_gets_the_limit_by_its_own_name_and_no_temperature(tmp_path: Path) -> None:
    engine = "describe.engine={kind: fake, limit_name: max_completion_tokens, temperature: null}"
    rules = worker_spec(load_config(None, [engine]), "run").rules
    hosted = Scripted(lambda _: Reply('{"ty', "length", 90, 10, 256, 5.0))
    spec = replace(spec_with(hosted, tmp_path), rules=rules)
    list(describe_rows(spec, [pending("k", picture(tmp_path, "a.png", (9, 9, 9)))]))
    assert [body["max_completion_tokens"] for body in hosted.bodies] == [256, 512]
    assert not {"max_tokens", "temperature"} & set(hosted.bodies[0])


def test_what_was_answered_before_a_failure_is_paid_for(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Reply | EngineFailure:
        if body["max_tokens"] > 256:
            return EngineFailure("request", "http_503", "busy")
        return Reply('{"ty', "length", 90, 10, 256, 5.0)

    shown = picture(tmp_path, "a.png", (9, 9, 9))
    (row,) = describe_rows(spec_with(Scripted(answer), tmp_path), [pending("k", shown)])
    assert (row["status"], row["error_code"]) == ("error", "http_503")
    assert (row["tokens_in"], row["tokens_cached"], row["tokens_out"]) == (90, 10, 256)


def test_a_second_answer_that_is_whole_counts(tmp_path: Path) -> None:
    text = json.dumps(
        {
            field.name: "not visible"
            for field in worker_spec(CONFIG, "run").rules.schemas.default.fields
        }
        | {"description": "A red thing."}
    )

    def answer(body: dict[str, Any]) -> Reply | EngineFailure:
        is_whole = body["max_tokens"] > 256
        return Reply(text if is_whole else text[:9], "stop" if is_whole else "length", 1, 0, 1, 1.0)

    shown = picture(tmp_path, "a.png", (9, 9, 9))
    (row,) = describe_rows(spec_with(Scripted(answer), tmp_path), [pending("k", shown)])
    assert (row["status"], row["description"]) == ("ok", "A red thing.")


def test_a_task_in_which_nearly_all_fails_stops_sending(tmp_path: Path) -> None:
    refused = Scripted(lambda _: EngineFailure("request", "http_401", "no"))
    shown = picture(tmp_path, "a.png", (9, 9, 9))
    rows = [pending(f"k{i}", shown) for i in range(1000)]
    found = list(describe_rows(spec_with(refused, tmp_path), rows))
    assert 100 <= len(found) <= 100 + 16 + 1
    assert len(refused.bodies) == len(found)


def test_pictures_that_cannot_be_read_do_not_open_the_window(tmp_path: Path) -> None:
    class Slow(Scripted):
        at_first_answer = 0

        async def complete(self, body: dict[str, Any], _key: str) -> Reply | EngineFailure:
            self.bodies.append(body)
            await asyncio.sleep(1.0)
            self.at_first_answer = self.at_first_answer or len(self.bodies)
            return self.answer(body)

    engine = Slow(lambda _: Reply("{}", "stop", 1, 0, 1, 1.0))
    shown = picture(tmp_path, "a.png", (9, 9, 9))
    missing = [pending(f"m{i}", {**shown, "uri": "none.png"}) for i in range(20)]
    rows = missing + [pending(f"k{i}", shown) for i in range(30)]
    assert len(list(describe_rows(spec_with(engine, tmp_path), rows))) == 50
    assert 0 < engine.at_first_answer <= WindowLimits(16).first


def test_a_larger_prepared_picture_weighs_more(tmp_path: Path) -> None:
    row = pending("k", picture(tmp_path, "a.png", (9, 9, 9)))
    assert _weight(row, 1000) > 4 * _weight(row, 448)
    row["pictures"][0]["content"] = bytes(10**6)
    assert _weight(row, 448) > 10**6


def test_a_task_with_some_failures_goes_on(tmp_path: Path) -> None:
    shown = picture(tmp_path, "a.png", (9, 9, 9))
    rows = [pending(f"k{i}", shown) for i in range(400)]
    found = list(describe_rows(spec_with(FakeSpec(fault_rate=0.3), tmp_path), rows))
    assert len(found) == 400


def test_a_task_whose_slice_was_stopped_brings_to_an_end_what_it_has_sent(tmp_path: Path) -> None:
    shown = picture(tmp_path, "a.png", (9, 9, 9))
    progress = ProgressSpec(str(tmp_path / "slice"), 0.0)
    stop(progress.folder)
    spec = replace(spec_with(FakeSpec(), tmp_path), progress=progress)
    found = list(describe_rows(spec, [pending(f"k{i}", shown) for i in range(400)]))
    assert 0 < len(found) <= 2 * spec.window
    assert {row["status"] for row in found} == {"ok"}


def test_in_two_stages_the_category_comes_first_and_decides_the_attributes(tmp_path: Path) -> None:
    given = ["describe.engine.kind=fake", "describe.two_stage=true"]
    given += ["describe.attributes={default: generic, categories: {Lamps: home, Dresses: fashion}}"]
    rules = worker_spec(load_config(None, given), "run").rules
    says: dict[str, Any] = {"category": "Lamps"}

    def answer(body: dict[str, Any]) -> Reply | EngineFailure:
        asked = body["response_format"]["json_schema"]["schema"]["properties"]
        if list(asked) == ["category"]:
            return Reply(json.dumps(says), "stop", 100, 0, 10, 1.0)
        return fake._reply(body, "", 1.0)

    engine = Scripted(answer)
    spec = replace(spec_with(FakeSpec(), tmp_path), rules=rules, engine=engine)
    row = pending("k", picture(tmp_path, "a.png", (9, 9, 9))) | {"category": None}
    (found,) = describe_rows(spec, [row])
    assert (found["status"], found["category"], found["attribute_schema"]) == (
        "ok",
        "Lamps",
        "home",
    )
    assert found["request_key"] == "k"
    assert found["tokens_in"] > 100
    # What fits no category is asked for all that the default file has.
    says["category"] = "not visible"
    (found,) = describe_rows(spec, [row])
    assert (found["status"], found["category"], found["attribute_schema"]) == (
        "ok",
        None,
        "generic",
    )
    # A category that is known is not asked for.
    engine.bodies.clear()
    list(describe_rows(spec, [row | {"category": "Dresses"}]))
    assert len(engine.bodies) == 1


def test_two_stages_change_the_request_of_an_item_without_a_category_only() -> None:
    given = ["describe.attributes={default: generic, categories: {Lamps: home, Dresses: fashion}}"]
    one = worker_spec(load_config(None, given), "run").rules
    two = replace(one, two_stage=True)
    assert request_key(one, ["a"], "Lamps", None) == request_key(two, ["a"], "Lamps", None)
    assert request_key(one, ["a"], None, None) != request_key(two, ["a"], None, None)
    with pytest.raises(ConfigError, match="two_stage needs attributes"):
        load_config(None, ["describe.two_stage=true"])

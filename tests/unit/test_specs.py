"""What the driver ships to its tasks."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions.client import EndpointSpec
from vlm4rec_spark.descriptions.specs import model_revision, worker_spec


@pytest.mark.parametrize("kind", ["local", "fake"])
def test_the_specification_for_workers_pickles(kind: str) -> None:
    spec = worker_spec(load_config(None, [f"describe.engine.kind={kind}"]), "run")
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_tasks_share_what_may_be_sent_to_an_endpoint() -> None:
    given = ["describe.engine.kind=endpoint", "describe.engine.urls=['http://a', 'http://b']"]
    given += ["describe.tasks=4", "describe.engine.max_num_seqs=10"]
    unlimited = worker_spec(load_config(None, given), "run").engine
    assert isinstance(unlimited, EndpointSpec)
    assert (unlimited.requests_per_minute, unlimited.tokens_per_minute) == (None, None)
    given += ["describe.engine.requests_per_minute=100", "describe.engine.tokens_per_minute=6000"]
    spec = worker_spec(load_config(None, given), "run")
    assert isinstance(spec.engine, EndpointSpec)
    assert (spec.engine.requests_per_minute, spec.engine.tokens_per_minute) == (25, 1500)
    # A task may send nothing but its share: 3 requests at a time to each of two addresses.
    assert (spec.engine.connections, spec.window) == (3, 6)
    assert not spec.wants_confidence  # not every endpoint tells log-probabilities


def test_a_model_trained_again_in_its_folder_is_another_model(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"one")
    one = model_revision(str(tmp_path), None)
    assert one == model_revision(str(tmp_path), None)
    (tmp_path / "weights").write_bytes(b"two")
    assert model_revision(str(tmp_path), None) != one
    assert model_revision(str(tmp_path), "mine") == "mine"
    assert model_revision("some/model", None) == ""

"""A task's own copy of the specification: its number, and the GPUs that Spark gives it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from pyspark import TaskContext
from pyspark.resource import ResourceInformation

from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions.local import LocalSpec
from vlm4rec_spark.descriptions.plan import task_spec
from vlm4rec_spark.descriptions.specs import worker_spec
from vlm4rec_spark.errors import ConfigError

if TYPE_CHECKING:
    from vlm4rec_spark.descriptions.describer import WorkerSpec


@dataclass
class Task:
    """What Spark tells a task, for a machine without GPUs."""

    gpus: list[str] = field(default_factory=list)

    def partitionId(self) -> int:  # noqa: N802 - Spark's name
        return 3

    def resources(self) -> dict[str, ResourceInformation]:
        return {"gpu": ResourceInformation("gpu", self.gpus)} if self.gpus else {}


def spec_in(task: Task | None, patch: pytest.MonkeyPatch, *settings: str) -> WorkerSpec:
    """Return the specification as a task of a job with these settings sees it."""
    patch.setattr(TaskContext, "get", lambda: task)
    return task_spec(worker_spec(load_config(None, ["describe.engine.model=demo", *settings]), "r"))


def local(spec: WorkerSpec) -> LocalSpec:
    assert isinstance(spec.engine, LocalSpec)
    return spec.engine


def test_a_local_server_gets_the_gpus_of_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm4rec_spark.descriptions.local.has_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    spec = spec_in(Task(["1", "2"]), monkeypatch)
    assert (spec.partition, local(spec).devices) == (3, ("1", "2"))
    assert local(spec).environment()["CUDA_VISIBLE_DEVICES"] == "5,6"
    command = " ".join(local(spec).command(local(spec).folder))
    assert "--tensor-parallel-size 2" in command


def test_tasks_on_different_gpus_have_different_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm4rec_spark.descriptions.local.has_gpu", lambda: True)
    folders = [local(spec_in(Task([n]), monkeypatch)).folder for n in ("0", "0", "1")]
    assert folders[0] == folders[1] != folders[2]


def test_without_gpus_of_spark_nothing_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = worker_spec(load_config(None, ["describe.engine.model=demo"]), "r")
    assert spec_in(Task(), monkeypatch) == replace(plain, partition=3)
    assert spec_in(None, monkeypatch) == plain  # outside of a task
    fake = spec_in(Task(["0"]), monkeypatch, "describe.engine.kind=fake")
    assert not isinstance(fake.engine, LocalSpec)


def test_more_gpus_than_the_task_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    split = "describe.engine.tensor_parallel=2"
    assert local(spec_in(Task(["0", "1"]), monkeypatch, split)).tensor_parallel == 2
    with pytest.raises(ConfigError, match=r"tensor_parallel is 2, but Spark gives a task 1 GPU"):
        spec_in(Task(["0"]), monkeypatch, split)

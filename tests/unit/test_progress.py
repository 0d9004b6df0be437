from __future__ import annotations

from pathlib import Path

import pytest

from vlm4rec_spark.descriptions.progress import ProgressSpec, TaskProgress, clear, so_far, stop

OK = {"status": "ok", "tokens_in": 100, "tokens_out": 20}
ERROR = {"status": "error"}


def test_the_driver_reads_what_all_tasks_of_all_running_slices_have_done(tmp_path: Path) -> None:
    slices = [str(tmp_path / "index" / "progress" / f"run/{n}") for n in range(2)]
    for folder in slices:
        for partition in range(3):
            task = TaskProgress(ProgressSpec(folder, 0.0), partition)
            for row in (OK, ERROR, OK):
                task.count(row)
    found = so_far([*slices, str(tmp_path / "a slice that has not begun")])
    assert (found.described, found.failed, found.rows) == (12, 6, 18)
    assert (found.tokens_in, found.tokens_out) == (1200, 240)


def test_a_server_that_answers_several_tasks_is_one_server(tmp_path: Path) -> None:
    folders = [str(tmp_path / slice_) for slice_ in ("0", "1")]
    for folder in folders:
        for partition, server in enumerate(("node-a/0", "node-a/1", "node-b/0")):
            TaskProgress(ProgressSpec(folder, 0.0), partition).count({**OK, "server": server})
    assert so_far(folders).servers == 3


def test_a_task_sees_that_the_driver_has_stopped_its_slice(tmp_path: Path) -> None:
    ours, other = (ProgressSpec(str(tmp_path / slice_), 0.0) for slice_ in ("0", "1"))
    stop(ours.folder)
    tasks = [TaskProgress(spec, 0) for spec in (ours, other, None)]
    for task in tasks:
        task.count(ERROR)
    assert [task.is_stopped for task in tasks] == [True, False, False]


def test_a_task_that_is_repeated_counts_once(tmp_path: Path) -> None:
    for _ in range(2):
        TaskProgress(ProgressSpec(str(tmp_path), 0.0), 7).count(OK)
    assert so_far([str(tmp_path)]).rows == 1


def test_nothing_is_written_before_it_is_time(tmp_path: Path) -> None:
    TaskProgress(ProgressSpec(str(tmp_path / "slice"), 1e9), 0).count(OK)
    assert not (tmp_path / "slice").exists()


def test_a_folder_that_cannot_be_written_or_read_costs_nothing_but_the_news(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    task = TaskProgress(ProgressSpec(str(tmp_path / "file" / "slice"), 0.0), 0)
    task.count(OK)
    task.count(OK)
    (tmp_path / "0.json").write_text("{")
    assert so_far([str(tmp_path), str(tmp_path / "file" / "slice")]).rows == 0


@pytest.mark.parametrize("has_index", [True, False])
def test_what_is_left_behind_is_what_was_there_before(tmp_path: Path, *, has_index: bool) -> None:
    index = tmp_path / "index"
    if has_index:
        (index / "versions").mkdir(parents=True)
    TaskProgress(ProgressSpec(str(index / "progress" / "run" / "0"), 0.0), 0).count(OK)
    clear(str(index / "progress" / "run"))
    assert not (index / "progress").exists()
    assert index.exists() == has_index

from __future__ import annotations

from pathlib import Path

from vlm4rec_spark.descriptions.server_log import (
    CAUSE_CHARACTERS,
    LAST_LINES,
    MOST_CAUSES,
    words_of,
)

CORE = "(EngineCore pid=71) "
FRONT_END = [
    "(APIServer pid=7) Traceback (most recent call last):",
    *(f'(APIServer pid=7)   File "server.py", line {n}, in main' for n in range(40)),
    "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above.",
]
"""How vLLM ends when its engine does not start."""


def told(folder: Path, *lines: str) -> list[str]:
    """Return the lines that are told of a log."""
    log = folder / "log"
    log.write_text("\n".join(lines))
    return words_of(log).splitlines()


def test_the_cause_that_stands_far_above_is_told_before_the_last_lines(tmp_path: Path) -> None:
    cause = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    logged = [f"{CORE}ERROR 08-01 [core.py:9] {cause}", "", f"{CORE}{cause}"]
    first, *rest = told(tmp_path, "Loading.", *logged, *FRONT_END)
    assert (first, rest) == (
        "errors that it names:",
        [cause, "the last lines:", *FRONT_END[-LAST_LINES:]],
    )


def test_of_many_errors_the_last_ones_are_told_in_order_and_shortened(tmp_path: Path) -> None:
    errors = [f"ValueError: {n} {'x' * 999}" for n in range(MOST_CAUSES + 3)]
    found = told(tmp_path, *errors, *errors, *FRONT_END)
    assert found[1 : found.index("the last lines:")] == [
        error[:CAUSE_CHARACTERS] for error in errors[-MOST_CAUSES:]
    ]


def test_empty_lines_are_left_out_as_they_would_end_the_message(tmp_path: Path) -> None:
    assert told(tmp_path, "Loading.", "", " ", "Killed")[1:] == ["Loading.", "Killed"]


def test_a_log_that_names_no_error_or_is_gone_has_its_last_lines_alone(tmp_path: Path) -> None:
    assert told(tmp_path, *FRONT_END) == ["the last lines:", *FRONT_END[-LAST_LINES:]]
    assert words_of(tmp_path / "none") == "the last lines:"

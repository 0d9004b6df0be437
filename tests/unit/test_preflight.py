from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vlm4rec_spark import preflight


def write_java(folder: Path, version_line: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{version_line}' >&2\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    return java


def test_a_linux_pc_passes_and_another_machine_is_named() -> None:
    assert preflight.check_system("Linux", "x86_64") is None
    assert "Darwin arm64" in (preflight.check_system("Darwin", "arm64") or "")


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 12)])
def test_the_supported_pythons_pass(version: tuple[int, int]) -> None:
    assert preflight.check_python(version, has_venv=True) is None


@pytest.mark.parametrize("version", [(3, 9), (3, 13)])
def test_another_python_is_told_how_to_name_the_right_one(version: tuple[int, int]) -> None:
    sentence = preflight.check_python(version, has_venv=True) or ""
    assert f"{version[0]}.{version[1]}" in sentence
    assert "make PYTHON=" in sentence


def test_a_python_without_venv_is_told_which_package_to_install() -> None:
    assert "python3.12-venv" in (preflight.check_python((3, 12), has_venv=False) or "")


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_392"', 8),
        ("sh: java: broken", None),
    ],
)
def test_the_java_version_is_read_from_its_own_words(text: str, major: int | None) -> None:
    assert preflight.java_major(text) == major


def test_java_home_goes_before_the_path(tmp_path: Path) -> None:
    write_java(tmp_path / "home", 'openjdk version "17.0.1"')
    write_java(tmp_path / "other", 'openjdk version "11.0.1"')
    path = f"{tmp_path}/other/bin:{os.environ['PATH']}"
    home = str(tmp_path / "home")
    assert preflight.check_java({"JAVA_HOME": home, "PATH": path}) is None
    assert "is version 11" in (preflight.check_java({"PATH": path}) or "")


def test_missing_java_is_one_sentence_that_says_what_to_install(tmp_path: Path) -> None:
    sentence = preflight.check_java({"PATH": str(tmp_path)}) or ""
    assert "install a JDK or JRE 17 or 21" in sentence
    assert sentence.count("\n") == 0


def test_a_java_home_without_java_does_not_start() -> None:
    assert "does not start" in (preflight.check_java({"JAVA_HOME": "/nowhere", "PATH": ""}) or "")


def test_the_container_limit_counts_where_it_is_smaller() -> None:
    meminfo = "MemTotal:       24000000 kB\nMemFree: 1 kB\n"
    assert preflight.memory_bytes(meminfo, ["max\n"]) == 24_000_000 * 1024
    assert preflight.memory_bytes(meminfo, ["8000000000\n"]) == 8_000_000_000


def test_too_little_memory_is_told_in_numbers_and_unknown_memory_passes() -> None:
    assert preflight.check_memory(12_000_000_000) is None
    assert preflight.check_memory(0) is None
    assert "8.0 GB" in (preflight.check_memory(8_000_000_000) or "")


def test_an_installed_environment_needs_less_disk(tmp_path: Path) -> None:
    free = 5_000_000_000
    assert preflight.check_disk(tmp_path, free, installed=True) is None
    assert str(tmp_path) in (preflight.check_disk(tmp_path, free, installed=False) or "")


def test_a_pom_without_its_jar_is_a_half_filled_cache(tmp_path: Path) -> None:
    version = tmp_path / "io" / "delta" / "delta-spark_4.2_2.13" / "4.4.0"
    version.mkdir(parents=True)
    pom = version / "delta-spark_4.2_2.13-4.4.0.pom"
    pom.touch()
    assert f"delete {version}" in (preflight.check_maven_cache(tmp_path) or "")
    pom.with_suffix(".jar").touch()
    assert preflight.check_maven_cache(tmp_path) is None


def test_a_missing_maven_cache_is_fine(tmp_path: Path) -> None:
    assert preflight.check_maven_cache(tmp_path / "none") is None


CHECKS = (
    "check_system", "check_python", "check_java", "check_memory", "check_disk", "check_maven_cache",
)  # fmt: skip


def test_every_problem_is_printed_and_sets_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert {name for name in vars(preflight) if name.startswith("check_")} == set(CHECKS)
    for name in CHECKS:
        monkeypatch.setattr(preflight, name, lambda *_, name=name, **__: f"{name} says no")
    assert preflight.main(["--venv", str(tmp_path / ".venv")]) == 1
    assert capsys.readouterr().err.splitlines() == [f"{name} says no" for name in CHECKS]
    for name in CHECKS:
        monkeypatch.setattr(preflight, name, lambda *_, **__: None)
    assert preflight.main(["--venv", str(tmp_path / ".venv")]) == 0
    assert capsys.readouterr().err == ""


def test_the_checks_are_handed_what_this_machine_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    for limit in ("MEMORY_BYTES", "DISK_BYTES_TO_INSTALL"):
        monkeypatch.setattr(preflight, limit, 10**18)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    pom = tmp_path / ".m2" / "repository" / "io" / "delta" / "delta" / "1" / "delta-1.pom"
    pom.parent.mkdir(parents=True)
    pom.touch()
    found = " ".join(preflight.problems(tmp_path / ".venv"))
    for words in ("Java at", "GB of memory", "GB of free disk", "cache is half-filled"):
        assert words in found

"""Working files serve again only in the run and for the facts that they were made for."""

from __future__ import annotations

from pathlib import Path

from vlm4rec_spark.topk.landing import Note


def test_a_note_holds_for_its_own_run_and_facts_until_it_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "shop" / "history.json"
    mine, other = Note(path, '["run-1", "plain"]'), Note(path, '["run-2", "plain"]')
    assert mine.read() is None
    mine.write("folder")
    assert mine.read() == "folder"
    assert other.read() is None
    other.write("another")
    assert (mine.read(), other.read()) == (None, "another")
    other.take_back()
    other.take_back()
    assert other.read() is None


def test_a_note_that_was_cut_off_is_none(tmp_path: Path) -> None:
    note = Note(tmp_path / "history.json", "run-1")
    note.write("folder")
    note.path.write_text(note.path.read_text("utf-8")[:-2], "utf-8")
    assert note.read() is None

"""Spaces of profile options in the evaluation are those of the recommend job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.test_topk_facets import built_shop
from tests.unit.topk_pieces import item_table
from vlm4rec_spark.config import load_config
from vlm4rec_spark.config_evaluation import EvaluateConfig
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.evaluation.catalogue import ITEMS, Catalogue, save_array, write_catalogue
from vlm4rec_spark.evaluation.moved import MovedSpaces
from vlm4rec_spark.evaluation.report import Evaluation, write_reports
from vlm4rec_spark.topk.centring import PLAIN, Space
from vlm4rec_spark.topk.moving import moved
from vlm4rec_spark.topk.rule_checks import check_facets
from vlm4rec_spark.topk.snapshot import load_snapshot
from vlm4rec_spark.topk.snapshot_files import write_snapshot

KNOBS = (("colour", 0.0), ("style", 2.0))


@pytest.mark.parametrize("kind", ["plain", "centred", "whitened"])
def test_a_space_is_that_of_the_item_matrix_and_items_without_a_vector_change_nothing(
    tmp_path: Path, kind: str
) -> None:
    words, rows = built_shop()
    items, space = item_table(200).set_column(7, "words", words), Space(kind, KNOBS)
    write_snapshot(tmp_path / "snapshot-f", items, rows, "e@1", space=space)
    state = load_snapshot(str(tmp_path / "snapshot-f"))
    listed = state.vectors[state.find(items["item_id"].combine_chunks())]
    assert moved(rows, space, lambda: words).vectors.tolist() == listed.tolist()

    gaps = np.insert(rows, [0, 77, 200], np.nan, axis=0)
    said = words.to_pylist()
    said = [[("colour", "c9")], *said[:77], None, *said[77:], [("style", "s0")]]
    found = moved(gaps, space, lambda: pa.array(said, words.type)).vectors
    assert np.isnan(found[[0, 78, 202]]).all()
    assert found[np.isfinite(found[:, 0])].tolist() == listed.tolist()


def a_catalogue(folder: Path) -> tuple[Catalogue, pa.MapArray]:
    """Return the shop of colours and styles as a catalogue with the space `caption`."""
    words, vectors = built_shop()
    facts = [
        {"item_id": f"i{n:03d}", "users": 1, "recent_users": 1, "group_no": n, "category": None,
         "price": None}
        for n in range(len(vectors))
    ]  # fmt: skip
    made = write_catalogue(folder, pa.Table.from_pylist(facts, schema=ITEMS), 1)
    save_array(folder, "space-caption", vectors)
    return made, words


def test_a_space_is_made_once_and_words_are_read_for_facets_alone(tmp_path: Path) -> None:
    catalogue, words = a_catalogue(tmp_path)
    without = MovedSpaces(catalogue, pytest.fail)
    assert without.name("caption", PLAIN) == "caption"
    assert without.name("caption", Space("centred")) == "caption-centred"
    spaces = MovedSpaces(catalogue, lambda: words)
    name = spaces.name("caption", Space("plain", KNOBS))
    written = (tmp_path / f"space-{name}.npy").stat().st_mtime_ns
    assert spaces.name("caption", Space("plain", KNOBS)) == name
    assert (tmp_path / f"space-{name}.npy").stat().st_mtime_ns == written
    assert spaces.made == {name}


def test_an_attribute_can_have_any_name(tmp_path: Path) -> None:
    catalogue, words = a_catalogue(tmp_path)
    spaces = MovedSpaces(catalogue, lambda: words)
    names = {spaces.name("caption", Space("plain", ((f, 0.0),))) for f in ("a/b", "a b", "../ü")}
    assert all((tmp_path / f"space-{name}.npy").is_file() for name in names)
    assert len(names) == 3


def test_a_knob_on_an_attribute_that_does_not_exist_is_refused_before_any_work() -> None:
    arms = "evaluate.profile_arms={{shaped: {{facets: {{{}: 2}}}}, late: {{fusion: max}}}}"
    check_facets(load_config("demo", [arms.format("occasion")]))
    with pytest.raises(
        ConfigError, match=r"arms\.shaped\.facets: unknown attribute 'ocasion'; did"
    ):
        check_facets(load_config("demo", [arms.format("ocasion")]))
    with pytest.raises(ConfigError, match="facets"):
        load_config("demo", ["evaluate.profile_arms={shaped: {facets: {occasion: -1}}}"])


def test_the_report_tells_what_an_arm_changes(tmp_path: Path) -> None:
    settings = EvaluateConfig.model_validate(
        {"profile_arms": {"shaped": {"facets": {"occasion": 2, "colour": 0}}}}
    )
    evaluation = Evaluation(
        run_id="r", config_hash="c", settings=settings, cut=None, steps=[], n_items=1, n_cold=0,
        n_users=1, encoder="e@1", vectors={}, left_out={}, tuning="defaults", results=[],
        folder=tmp_path,
    )  # fmt: skip
    text = (write_reports(evaluation) / "report.md").read_text("utf-8")
    assert "arm shaped | profiles: {facets: {occasion: 2.0, colour: 0.0}}" in text

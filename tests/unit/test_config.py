"""The configuration: defaults, overlays, and mistakes told all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from vlm4rec_spark.config import Config, conf_folder, load_config
from vlm4rec_spark.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def _keys(tree: object, at: str = "") -> set[str]:
    if not isinstance(tree, dict) or not tree:
        return {at}
    return set().union(*(_keys(value, f"{at}.{key}") for key, value in tree.items()))


def test_base_yml_names_every_key_with_the_default_of_the_models() -> None:
    base = yaml.safe_load((conf_folder() / "base.yml").read_text("utf-8"))
    assert load_config() == Config()
    assert _keys(base) == _keys(Config().model_dump(mode="json", by_alias=True))


def test_overlay_and_overrides_come_in_this_order(tmp_path: Path) -> None:
    overlay = tmp_path / "shop.yml"
    overlay.write_text("topk: {k: 5}\nimages: {max_bytes: 2MB}\nprofiles: {events: {sip: 2}}\n")
    config = load_config(
        overlay, ["topk.k=7", "profiles.events.sniff=1", "tables.schema=recs", "run.run_id=17"]
    )
    assert (config.topk.k, config.topk.similar_k) == (7, 20)
    assert config.images.max_bytes == 2_000_000
    assert config.profiles.events == {"sip": 2.0, "sniff": 1.0}
    assert (config.tables.schema_name, config.run.run_id) == ("recs", "17")


def test_all_mistakes_come_in_one_error_with_near_names() -> None:
    wrong = ["profiles.half_live_days=3", "topk.k=-1", "describe.engine.modle=x", "nonsense"]
    with pytest.raises(ConfigError) as caught:
        load_config(None, wrong)
    text = str(caught.value)
    assert "profiles.half_live_days: unknown key; did you mean 'half_life_days'?" in text
    assert "describe.engine.modle: unknown key; did you mean 'model'?" in text
    assert "topk.k: input should be greater than 0 (found -1)" in text
    assert "'nonsense': expected the form a.b=c" in text


def test_path_and_table_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="either path or table"):
        load_config(None, ["sources.items.path=a", "sources.items.table=b"])


@pytest.mark.parametrize(
    "place", ["s3://bucket/index", "abfss://c@account.example/index", "dbfs:/index", "file:/index"]
)
def test_the_item_matrix_is_not_put_into_a_store_without_a_folder(place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"topk.index_path={place}"])
    assert f"topk.index_path: '{place}' is an address of a store" in str(caught.value)
    assert "/Volumes/catalog/schema/volume" in str(caught.value)


def test_a_volume_under_its_other_name_is_the_folder_it_is_mounted_at() -> None:
    for place in ("dbfs:/Volumes/main/recs/index", "dbfs:///Volumes/main/recs/index"):
        config = load_config(None, [f"topk.index_path={place}"])
        assert config.topk.index_path == "/Volumes/main/recs/index"
    for place in ("build/a:b/index", "/mnt/index"):
        assert load_config(None, [f"topk.index_path={place}"]).topk.index_path == place


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yml")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("tables: {schema: läden}".encode("latin-1"), "is not UTF-8 (line 1 holds the byte 0xe4)"),
        ("a: 1\nb: 2\n".encode("utf-16"), "is not UTF-8 (line 1 holds the byte 0xff)"),
        (b"topk: {k: 5", "is not valid YAML: line 1, column 12: expected ',' or '}'"),
        (b"run: {run_id: 2026-02-30}", "is not valid YAML: day is out of range for month"),
    ],
)
def test_a_file_that_cannot_be_understood_is_one_sentence(
    content: bytes, told: str, tmp_path: Path
) -> None:
    overlay = tmp_path / "shop.yml"
    overlay.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(overlay)
    assert f"The configuration file {overlay} {told}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_date_that_does_not_exist_is_no_value_of_a_setting() -> None:
    with pytest.raises(ConfigError, match=r"'run\.run_id=2026-02-30': the value is not valid YAML"):
        load_config(None, ["run.run_id=2026-02-30"])


@pytest.mark.parametrize(
    "options", ["{{password: {}}}", "{{url: 'jdbc:x://u:{}@h/db'}}", "{{url: 'h?password={}&a=1'}}"]
)
def test_the_hash_ignores_secrets_and_the_run_but_nothing_else(options: str) -> None:
    first, second = (
        load_config(None, [f"sources.items.options={options.format(secret)}", f"run.run_id={run}"])
        for secret, run in (("hush", "r1"), ("quiet", "r2"))
    )
    assert first != second
    assert first.content_hash() == second.content_hash()
    assert "hush" not in str(first.public())
    assert first.content_hash() != load_config(None, ["topk.k=9"]).content_hash()
    other = load_config(None, ["sources.items.options={query: select 1}"])
    assert other.content_hash() != load_config().content_hash()


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        load_config().topk.k = 3


def test_a_cut_without_a_time_zone_is_utc_and_two_arms_of_one_name_are_refused() -> None:
    config = load_config(None, ["evaluate.split.cut=2026-06-01"])
    assert config.evaluate.split.cut is not None
    assert config.evaluate.split.cut.isoformat() == "2026-06-01T00:00:00+00:00"
    with pytest.raises(ConfigError, match="two arms are called title"):
        load_config(None, ["evaluate.profile_arms={title: {max_history: 3}}"])
    with pytest.raises(ConfigError, match="baseline 'titel' must be one of the arms"):
        load_config(None, ["evaluate.baseline=titel"])

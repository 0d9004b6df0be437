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


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yml")


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

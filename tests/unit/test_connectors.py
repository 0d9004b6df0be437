"""The overlays in conf/connectors: each is a valid configuration that keeps its secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlm4rec_spark.config import conf_folder, load_config

OVERLAYS = sorted((conf_folder() / "connectors").glob("*.yml"))


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_every_connector_has_the_shape_of_any_other_source(path: Path) -> None:
    source = load_config(path).sources.interactions
    assert source.format == path.stem
    assert source.watermark is not None
    assert source.watermark.column == source.columns.timestamp
    assert source.path or {"dbtable"} <= set(source.options)


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_no_connector_writes_a_secret_down(path: Path) -> None:
    config = load_config(path)
    for name, value in config.sources.interactions.options.items():
        if "password" in name.lower():
            assert str(value).startswith("${env:")
            assert str(value) not in json.dumps(config.public())


def test_snowflake_bigquery_and_redshift_are_there() -> None:
    assert [path.stem for path in OVERLAYS] == ["bigquery", "redshift", "snowflake"]

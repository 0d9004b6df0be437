from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from vlm4rec_spark.config import load_config

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def test_the_readme_begins_with_files_on_one_machine_and_with_tables_of_a_lakehouse() -> None:
    files, lakehouse = (yaml.safe_load(example) for example in EXAMPLES[:2])
    assert files["sources"]["items"]["format"] == "csv"
    assert lakehouse["sources"]["items"]["table"].count(".") == 2


@pytest.mark.parametrize("example", EXAMPLES, ids=[text.split(":")[0] for text in EXAMPLES])
def test_each_example_of_the_readme_is_a_configuration(example: str, tmp_path: Path) -> None:
    conf = tmp_path / "my_shop.yml"
    conf.write_text(example, "utf-8")
    load_config(str(conf))

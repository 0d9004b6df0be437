from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HEAVY = {"pyspark", "delta", "torch", "vllm", "sentence_transformers", "transformers", "scann"}
ROOT = Path(__file__).parents[2]
WHEEL_LIMIT_BYTES = 35_000_000


STAGES = (
    "catalog", "descriptions", "embeddings", "profiles", "refresh", "topk", "evaluation", "audit",
)  # fmt: skip
OUTER_LAYERS = {"job", "plan", "split"}


def imported_by(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def loaded_by(module: str) -> set[str]:
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(ran.stdout)}


def test_importing_the_package_loads_no_heavy_library() -> None:
    assert not HEAVY & loaded_by("vlm4rec_spark")


@pytest.mark.parametrize(
    "module",
    [
        "vlm4rec_spark.cli",
        "vlm4rec_spark.config",
        "vlm4rec_spark.tables",
        "vlm4rec_spark.catalog.images",
        "vlm4rec_spark.descriptions.prompts",
        "vlm4rec_spark.descriptions.window",
        "vlm4rec_spark.evaluation.arms",
        "vlm4rec_spark.evaluation.report",
        "vlm4rec_spark.audit.page",
    ],
)
def test_core_modules_load_no_heavy_library(module: str) -> None:
    if not (ROOT / Path(*module.split("."))).with_suffix(".py").exists():
        pytest.fail(f"{module} is gone: correct this list")
    assert not HEAVY & loaded_by(module)


def test_core_modules_know_neither_plans_nor_jobs() -> None:
    wrong = []
    for stage in STAGES:
        folder = ROOT / "vlm4rec_spark" / stage
        core = [
            path
            for path in folder.glob("*.py")
            if path.stem not in OUTER_LAYERS and not path.stem.endswith("_job")
        ]
        outer = {f"vlm4rec_spark.{stage}.{layer}" for layer in OUTER_LAYERS}
        wrong += [path.name for path in core if imported_by(path) & outer]
    assert not wrong


def test_the_wheel_holds_configs_and_stays_small(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, env=dict(os.environ))
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "vlm4rec_spark/conf/attributes/fashion.yml" in names
    assert any(name.endswith("entry_points.txt") for name in names)
    assert wheel.stat().st_size <= WHEEL_LIMIT_BYTES

"""Nothing but the model stages needs what Databricks serverless compute refuses."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "vlm4rec_spark"
REFUSED = {"rdd", "sparkContext", "_jvm", "_jsc", "_sc", "cache", "persist", "setLocalProperty",
           "createGlobalTempView", "createOrReplaceGlobalTempView"}  # fmt: skip
MAY_KNOW_THE_MACHINE = ("benchmarks", "demo", "descriptions", "doctor.py", "embeddings",
                        "preflight.py", "session.py", "credentials.py")  # fmt: skip
"""Model stages, local tools, and secrets, which serverless has as `${secret:SCOPE/KEY}`."""


def attributes(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_no_stage_but_the_model_ones_touches_what_is_refused() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).parts[0]
        if place in MAY_KNOW_THE_MACHINE:
            continue
        used = attributes(path)
        wrong += [f"{path.name}: {name}" for name in used & (REFUSED | {"environ", "getenv"})]
        if ".conf.set(" in path.read_text("utf-8"):
            wrong.append(f"{path.name}: conf.set")
    assert not wrong

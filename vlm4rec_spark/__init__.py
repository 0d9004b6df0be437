"""Recommendations from what a vision-language model says it sees, as Spark batch jobs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm4rec_spark.config import load_config
    from vlm4rec_spark.pipeline import Pipeline
    from vlm4rec_spark.topk.edits import Edit

__version__ = "0.1.0"
__all__ = ["Edit", "Pipeline", "__version__", "load_config"]
_ENTRY_POINTS = {
    "Edit": "vlm4rec_spark.topk.edits",
    "Pipeline": "vlm4rec_spark.pipeline",
    "load_config": "vlm4rec_spark.config",
}


def __getattr__(name: str) -> object:
    """Load an entry point on first use: importing the package stays light."""
    if name not in _ENTRY_POINTS:
        raise AttributeError(f"module 'vlm4rec_spark' has no attribute '{name}'")
    return getattr(import_module(_ENTRY_POINTS[name]), name)

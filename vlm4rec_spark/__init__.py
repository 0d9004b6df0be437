"""Recommendations from what a vision-language model says it sees, as Spark batch jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm4rec_spark.config import load_config
    from vlm4rec_spark.pipeline import Pipeline

__version__ = "0.1.0"
__all__ = ["Pipeline", "__version__", "load_config"]


def __getattr__(name: str) -> object:
    """Load the two entry points on first use: importing the package stays light."""
    if name == "load_config":
        from vlm4rec_spark.config import load_config

        return load_config
    if name == "Pipeline":
        from vlm4rec_spark.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module 'vlm4rec_spark' has no attribute '{name}'")

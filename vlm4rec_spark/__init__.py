"""Recommendations from what a vision-language model says it sees, as Spark batch jobs."""

from __future__ import annotations

__version__ = "0.1.0"

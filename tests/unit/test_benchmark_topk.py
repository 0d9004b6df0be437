"""The benchmark of the engines, at a size that takes a second."""

from __future__ import annotations

import pytest

from vlm4rec_spark.benchmarks.topk import run


def test_the_benchmark_measures_every_engine() -> None:
    figures = run(1500, 40)
    assert figures["items"] == 1500
    assert figures["list_major_999_recall"] == pytest.approx(1.0)
    assert figures["scann_recall"] > 0.98
    assert {
        "list_major_99_x", "list_major_999_x", "list_major_build_cpu_s", "scann_x",
        "scann_vs_bare", "exact_vs_sgemm",
    } <= set(figures)  # fmt: skip

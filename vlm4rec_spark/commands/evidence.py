"""Commands that ask whether it works: evaluate, audit."""

from __future__ import annotations

import argparse

from vlm4rec_spark.commands.command import Command, pipeline_of, say_report


def _evaluate(options: argparse.Namespace) -> int:
    return say_report(pipeline_of(options).evaluate())


def _audit(options: argparse.Namespace) -> int:
    return say_report(pipeline_of(options).audit())


COMMANDS = (
    Command(
        "evaluate",
        _evaluate,
        "compare arms on what users did later; writes a report",
        "Splits sources.interactions by time and ranks for every test user with captions, titles,\n"
        "popularity, item-kNN, EASE and controls: same users, candidates, masks, encoder and k.\n"
        "Writes metrics, metrics_per_user, and report.html and report.md in evaluate.report.\n\n"
        "  vlm4rec evaluate --conf my_shop.yml --set evaluate.baseline=title\n"
        "  vlm4rec evaluate --conf my_shop.yml --set evaluate.split.cut=2026-06-01",
    ),
    Command(
        "audit",
        _audit,
        "look at neighbours by picture, title, words and shoppers",
        "Writes audit.html in audit.report: the same items' neighbours side by side with their\n"
        "pictures, where spaces disagree, suspects, and how good the descriptions are.\n\n"
        "  vlm4rec audit --conf my_shop.yml --set audit.shown=100",
    ),
)

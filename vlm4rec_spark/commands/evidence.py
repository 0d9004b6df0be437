"""Commands that ask whether it works: evaluate, audit, diff."""

from __future__ import annotations

import argparse

from vlm4rec_spark.commands.command import (
    Command,
    Parser,
    dry_run_option,
    pipeline_of,
    say,
    say_job,
    say_report,
)


def _evaluate(options: argparse.Namespace) -> int:
    return say_job(options, "evaluate")


def _audit(options: argparse.Namespace) -> int:
    return say_report(pipeline_of(options).audit())


def _diff(options: argparse.Namespace) -> int:
    from vlm4rec_spark.evaluation.page import markdown

    tables = pipeline_of(options).diff(options.first, options.second)
    say(markdown(f"From run {options.first} to run {options.second}", [], [], tables))
    return 0


def _diff_options(parser: Parser) -> None:
    parser.add_argument("first", metavar="RUN_A", help="run id, as in the table `runs`")
    parser.add_argument("second", metavar="RUN_B", help="run id to compare it with")


COMMANDS = (
    Command(
        "evaluate",
        _evaluate,
        "compare arms on what users did later; writes a report",
        "Splits sources.interactions by time and ranks for every test user with captions, titles,\n"
        "popularity, item-kNN, EASE and controls: same users, candidates, masks, encoder and k.\n"
        "Writes metrics, metrics_per_user, and report.html and report.md in evaluate.report.\n\n"
        "  vlm4rec evaluate --conf my_shop.yml --set evaluate.baseline=title\n"
        "  vlm4rec evaluate --conf my_shop.yml --dry-run --set evaluate.split.cut=2026-06-01",
        dry_run_option,
    ),
    Command(
        "audit",
        _audit,
        "look at neighbours by picture, title, words and shoppers",
        "Writes audit.html in audit.report: the same items' neighbours side by side with their\n"
        "pictures, where spaces disagree, suspects, and how good the descriptions are.\n\n"
        "  vlm4rec audit --conf my_shop.yml --set audit.shown=100",
    ),
    Command(
        "diff",
        _diff,
        "compare two runs: what is said otherwise, whose lists moved, what it cost",
        "For another model, prompt or attribute file over the same pictures. Writes nothing.\n\n"
        "  vlm4rec diff 20260601T020000-1a2b3c4d 20260608T020000-5e6f7a8b --conf my_shop.yml",
        _diff_options,
    ),
)

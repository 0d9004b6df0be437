"""Commands for the people who run the jobs: runs, maintain, migrate, forget."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from vlm4rec_spark.commands.command import (
    Command,
    Parser,
    dry_run_option,
    pipeline_of,
    say,
    say_report,
)

if TYPE_CHECKING:
    from vlm4rec_spark.operations.forget import Place


def _runs(options: argparse.Namespace) -> int:
    from vlm4rec_spark.operations.history import history, told

    rows = history(pipeline_of(options).context, options.n, options.stage)
    say(json.dumps(rows, default=str, indent=2) if options.json else told(rows))
    return 0


def _runs_options(parser: Parser) -> None:
    parser.add_argument("-n", type=int, default=20, help="number of rows, newest first")
    parser.add_argument("--stage", help="one stage only, for example descriptions")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def _maintain(options: argparse.Namespace) -> int:
    from vlm4rec_spark.operations.maintain import run

    report = run(
        pipeline_of(options).context,
        retention_hours=options.retention_hours,
        dry_run=options.dry_run,
    )
    say_report(report)
    broken = [n for n in report.counts if n.endswith("_duplicate_keys")]
    return int(bool(broken or report.counts["migrations_pending"]))


def _maintain_options(parser: Parser) -> None:
    dry_run_option(parser)
    parser.add_argument(
        "--retention-hours",
        type=int,
        default=168,
        help="keep older versions this long (168: a week)",
    )


def _migrate(options: argparse.Namespace) -> int:
    from vlm4rec_spark.operations.migrations import migrate, pending

    context = pipeline_of(options).context
    work = pending if options.dry_run else migrate
    statements = work(context.spark, context.names)
    say("\n".join(f"{statement};" for statement in statements) or "-- nothing to do")
    return 0


def _forget(options: argparse.Namespace) -> int:
    from vlm4rec_spark.operations.forget import forget

    context = pipeline_of(options).context
    places = forget(context, options.user_id, purge=options.purge, dry_run=options.dry_run)
    say("\n".join(_told(place) for place in places))
    clean = all(place.is_clean for place in places)
    say("Nothing is left." if clean else "Something is left; the lines above say what to do.")
    return 0 if clean or options.dry_run else 1


def _told(place: Place) -> str:
    line = f"{place.name:44} {place.before:>8,} rows before {place.after:>8,} after"
    return f"{line}  {place.note}" if place.note else line


def _forget_options(parser: Parser) -> None:
    dry_run_option(parser)
    parser.add_argument("--user-id", required=True, help="who, as in the tables")
    parser.add_argument(
        "--purge", action="store_true", help="also delete the files of older table versions, now"
    )


COMMANDS = (
    Command(
        "runs",
        _runs,
        "show what the last runs did",
        "A row per stage: time, failures, cost, audited recall. '!' marks a stage that took twice\n"
        "its usual time.\n\n"
        "  vlm4rec runs --conf my_shop.yml --stage topk -n 50",
        _runs_options,
    ),
    Command(
        "maintain",
        _maintain,
        "compact tables, delete what nothing reads, check keys",
        "Weekly is enough. Exit status 1 when a key is there twice or a migration is pending.\n"
        "On Databricks predictive optimization compacts managed tables by itself.\n\n"
        "  vlm4rec maintain --conf my_shop.yml --dry-run",
        _maintain_options,
    ),
    Command(
        "migrate",
        _migrate,
        "bring tables of an earlier version to this one",
        "Prints every ALTER it runs. Stop the jobs first; --dry-run prints and changes nothing.\n\n"
        "  vlm4rec migrate --conf my_shop.yml --dry-run",
        dry_run_option,
    ),
    Command(
        "forget",
        _forget,
        "remove a person from everything we wrote, with proof",
        "Tables, working files, exports and PostgreSQL. Files of older table versions go after a\n"
        "week (`vlm4rec maintain`), or now with --purge, while nothing reads the tables. Exit\n"
        "status 1 while something is left, your own interaction log included.\n\n"
        "  vlm4rec forget --conf my_shop.yml --user-id 4711 --purge",
        _forget_options,
    ),
)

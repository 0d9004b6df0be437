"""The nightly jobs, and the demo that runs both."""

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
    spark_settings,
)
from vlm4rec_spark.errors import ConfigError


def _catalog(options: argparse.Namespace) -> int:
    return say_job(options, "catalog")


def _recommend(options: argparse.Namespace) -> int:
    return say_job(options, "recommend")


def _estimate(options: argparse.Namespace) -> int:
    if options.sample < 1:
        raise ConfigError(f"--sample must be 1 or more (found {options.sample}).")
    say("\n".join(pipeline_of(options).estimate(options.sample)))
    return 0


def _estimate_options(parser: Parser) -> None:
    parser.add_argument("--sample", type=int, default=200, help="requests to send")


def _publish(options: argparse.Namespace) -> int:
    return say_report(pipeline_of(options).publish(dry_run=options.dry_run))


def _demo(options: argparse.Namespace) -> int:
    if min(options.items, options.users) < 1:
        raise ConfigError("--items and --users must be 1 or more.")
    from vlm4rec_spark.demo.run import run
    from vlm4rec_spark.demo.settings import ShopConfig

    shop = ShopConfig(items=options.items, users=options.users)
    if options.dry_run:
        say(
            f"Would draw a synthetic shop of {shop.items:,} items and {shop.users:,} shoppers, and "
            "run both jobs, the evaluation and the audit on it, all below build/demo."
        )
        return 0
    say(run(options.conf or "demo", options.set, shop, spark_settings(options)))
    return 0


def _demo_options(parser: Parser) -> None:
    parser.add_argument("--items", type=int, default=600, help="items of the synthetic shop")
    parser.add_argument("--users", type=int, default=2000, help="its simulated shoppers")
    dry_run_option(parser)


COMMANDS = (
    Command(
        "catalog",
        _catalog,
        "ingest, describe and embed what is new",
        "Reads sources.items, writes items, images, descriptions and item_vectors. Run it again\n"
        "at any time: nothing is done twice, and a run that died goes on where it stopped.\n\n"
        "  vlm4rec catalog --conf my_shop.yml --dry-run\n"
        "  vlm4rec catalog --conf my_shop.yml --set describe.engine.max_num_seqs=256",
        dry_run_option,
    ),
    Command(
        "recommend",
        _recommend,
        "make profiles and top-k lists",
        "Reads sources.interactions and what the catalog job wrote; writes profiles,\n"
        "recommendations, similar_items and complements. A run under topk.recall_target changes\n"
        "nothing.\n\n"
        "  vlm4rec recommend --conf my_shop.yml --dry-run\n"
        "  vlm4rec recommend --conf my_shop.yml --set topk.k=50",
        dry_run_option,
    ),
    Command(
        "estimate",
        _estimate,
        "describe a sample, and tell what the rest will take",
        "Prints pictures/s, tokens, GPU-hours and money, each with an interval. The answers are\n"
        "kept. Take several times describe.engine.max_num_seqs, and set the prices:\n\n"
        "  vlm4rec estimate --conf my_shop.yml --sample 1000 --set describe.cost.gpu_hour=2.5",
        _estimate_options,
    ),
    Command(
        "publish",
        _publish,
        "hand lists, neighbours and attributes to the shop's systems",
        "Into PostgreSQL: rows are staged slice by slice, then one transaction brings the tables\n"
        "to them, so that readers see the run before or this one, never half. As files: a folder\n"
        "per run, and latest.json names the newest. Run it again after a crash: it goes on.\n\n"
        "  vlm4rec publish --conf my_shop.yml --dry-run\n"
        "  vlm4rec publish --conf my_shop.yml --set publish.files.folder=/Volumes/main/recs/export",
        dry_run_option,
    ),
    Command(
        "demo",
        _demo,
        "run both jobs, the evaluation and the audit on a small synthetic shop",
        "Everything it writes is below build/demo. Another size replaces the shop there.\n\n"
        "  vlm4rec demo --items 5000 --users 20000",
        _demo_options,
    ),
)

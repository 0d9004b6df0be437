"""The nightly jobs, and the demo that runs both."""

from __future__ import annotations

import argparse

from vlm4rec_spark.commands.command import Command, pipeline_of, say, say_report


def _catalog(options: argparse.Namespace) -> int:
    return say_report(pipeline_of(options).catalog())


def _recommend(options: argparse.Namespace) -> int:
    return say_report(pipeline_of(options).recommend())


def _demo(options: argparse.Namespace) -> int:
    from vlm4rec_spark.demo.run import run

    say(run(options.conf or "demo", options.set))
    return 0


COMMANDS = (
    Command(
        "catalog",
        _catalog,
        "ingest, describe and embed what is new",
        "Reads sources.items, writes items, images, descriptions and item_vectors. Run it again\n"
        "at any time: nothing is done twice, and a run that died goes on where it stopped.\n\n"
        "  vlm4rec catalog --conf my_shop.yml\n"
        "  vlm4rec catalog --conf my_shop.yml --set describe.engine.max_num_seqs=256",
    ),
    Command(
        "recommend",
        _recommend,
        "make profiles and top-k lists",
        "Reads sources.interactions and what the catalog job wrote; writes profiles,\n"
        "recommendations and similar_items. A run under topk.recall_target changes nothing.\n\n"
        "  vlm4rec recommend --conf my_shop.yml --set topk.k=50",
    ),
    Command("demo", _demo, "run both jobs on a small synthetic catalogue"),
)

"""What a command is, and what all commands share."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm4rec_spark.config import Config, load_config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.pipeline import Pipeline
    from vlm4rec_spark.runs import RunReport

Parser = argparse.ArgumentParser


@dataclass(frozen=True)
class Command:
    """One command: its name, what runs it, one line about it, and more for its own --help."""

    name: str
    run: Callable[[argparse.Namespace], int]
    summary: str
    more: str = ""
    """What --help says below the options: when to use it, and examples."""
    options: Callable[[Parser], None] | None = None
    """Adds the command's own options."""
    starts_spark: bool = True
    """Whether it takes the options of `spark_options`."""


def config_of(options: argparse.Namespace) -> Config:
    """Return the configuration that the options name."""
    run_id = [f"run.run_id={options.run_id}"] if options.run_id else []
    return load_config(options.conf, [*options.set, *run_id])


def pipeline_of(options: argparse.Namespace) -> Pipeline:
    """Start Spark, after the configuration was found good, and return the pipeline."""
    config = config_of(options)
    from vlm4rec_spark.pipeline import Pipeline

    return Pipeline(session_of(options, config), config)


def session_of(options: argparse.Namespace, config: Config) -> SparkSession:
    """Start Spark where the options say, with the drivers that the sources need."""
    from vlm4rec_spark.catalog.jdbc import drivers
    from vlm4rec_spark.session import build_session

    packages = (*drivers(config.model_dump_json()), *options.package)
    return build_session(
        "vlm4rec", remote=options.remote, extra=spark_settings(options), packages=packages
    )


def spark_settings(options: argparse.Namespace) -> dict[str, str]:
    """Return Spark's settings that the options hold; a later one wins, and any over --master."""
    master = {"spark.master": options.master} if options.master else {}
    return master | dict(options.spark_conf)


def spark_setting(text: str) -> tuple[str, str]:
    """Read one --spark-conf.

    >>> spark_setting("spark.driver.memory=8g")
    ('spark.driver.memory', '8g')

    Raises:
        argparse.ArgumentTypeError: it is no setting of Spark; the value, maybe secret, is not told.
    """
    key, equals, value = text.partition("=")
    if key.strip() == "spark.jars.packages":
        raise argparse.ArgumentTypeError(f"{key}: Delta is in it; give --package, which adds to it")
    if not equals or not re.fullmatch(r"\s*spark\.\S+\s*", key):
        raise argparse.ArgumentTypeError(
            f"'{key}': expected KEY=VALUE with a key that begins with 'spark.', for example "
            "spark.driver.memory=8g"
        )
    return key.strip(), value.strip()


def common_options(parser: Parser) -> None:
    """Add the options that every command takes."""
    parser.add_argument("--conf", help="YAML overlay over conf/base.yml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="one setting; repeatable"
    )
    parser.add_argument(
        "--run-id", help="name of the run; a repeated run with the same name continues it"
    )
    parser.add_argument("--verbose", action="store_true", help="log more")
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: an object a line"
    )


def spark_options(parser: Parser) -> None:
    """Add the options of commands that start Spark."""
    parser.add_argument("--master", help="Spark master; default: this machine, local[*]")
    parser.add_argument("--remote", help="Spark Connect address, for example sc://host:15002")
    parser.add_argument(
        "--package", action="append", default=[], metavar="GROUP:NAME:VERSION",
        help="Maven package for a local session, for example a JDBC driver (PostgreSQL's is known)",
    )  # fmt: skip
    parser.add_argument(
        "--spark-conf", action="append", default=[], type=spark_setting, metavar="KEY=VALUE",
        help="one setting of Spark, for example spark.driver.memory=8g; repeatable",
    )  # fmt: skip


def dry_run_option(parser: Parser) -> None:
    """Add --dry-run."""
    parser.add_argument(
        "--dry-run", action="store_true", help="tell what would be done, do nothing"
    )


def say_job(options: argparse.Namespace, job: str) -> int:
    """Run a job (catalog, recommend, evaluate), or tell what it would do; return exit status 0."""
    pipeline = pipeline_of(options)
    if not options.dry_run:
        return say_report(getattr(pipeline, job)())
    from vlm4rec_spark.operations import dry_run

    return say_report(getattr(dry_run, job)(pipeline.context))


def say(text: str) -> None:
    """Write a line of the answer; logs go to the other stream."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has enough, as `| head` does; the work goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_report(report: RunReport) -> int:
    """Write what a job did; return exit status 0."""
    for name, count in report.counts.items():
        say(f"{name:40} {count:>14,}")
    for name, figure in report.figures.items():
        say(f"{name:40} {figure:>14,.3f}")
    say(f"{report.stage}: {report.seconds:.1f} s; {report.bottleneck}")
    return 0

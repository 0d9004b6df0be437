"""The command line: `vlm4rec catalog | recommend | search | ddl | doctor | demo`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vlm4rec_spark import __version__
from vlm4rec_spark.config import Config, load_config
from vlm4rec_spark.errors import ConfigError, Vlm4RecError

if TYPE_CHECKING:
    from vlm4rec_spark.pipeline import Pipeline
    from vlm4rec_spark.runs import RunReport

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0: done; 1: the run failed, or doctor found something; 2: wrong arguments or configuration.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("py4j", "httpx", "httpcore", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ConfigError as error:
        _say_error(error)
        return 2
    except Vlm4RecError as error:
        _say_error(error)
        return 1
    except KeyboardInterrupt:
        return 1


def run_job(job: str, arguments: Sequence[str] | None = None) -> None:
    """Run `catalog` or `recommend` and leave; the whole body of a script in jobs/."""
    code = main([job, *(sys.argv[1:] if arguments is None else arguments)])
    # Databricks takes any SystemExit of a script, also of 0, for a failure.
    if code:
        sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("vlm4rec", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    known: tuple[tuple[str, Callable[[argparse.Namespace], int], str], ...] = (
        ("catalog", _catalog, "ingest, describe and embed what is new"),
        ("recommend", _recommend, "make profiles and top-k lists"),
        ("search", _search, "find items by a sentence"),
        ("ddl", _ddl, "print the CREATE TABLE statements"),
        ("doctor", _doctor, "check this machine and the configuration"),
        ("demo", _demo, "run both jobs on a small synthetic catalogue"),
    )
    for name, command, description in known:
        part = commands.add_parser(name, help=description, description=description)
        part.set_defaults(command=command)
        part.add_argument("--conf", help="YAML overlay over conf/base.yml")
        part.add_argument(
            "--set", action="append", default=[], metavar="A.B=C", help="one setting; repeatable"
        )
        part.add_argument("--master", help="Spark master; default: this machine, local[*]")
        part.add_argument("--remote", help="Spark Connect address, for example sc://host:15002")
        part.add_argument("--verbose", action="store_true", help="log more")
        if name == "search":
            part.add_argument("text", help='for example "floral midi dress for a garden party"')
            part.add_argument("-k", type=int, default=10, help="number of items")
    return parser


def _config(options: argparse.Namespace) -> Config:
    return load_config(options.conf, options.set)


def _pipeline(options: argparse.Namespace) -> Pipeline:
    config = _config(options)
    from vlm4rec_spark.pipeline import Pipeline
    from vlm4rec_spark.session import build_session

    extra = {"spark.master": options.master} if options.master else {}
    return Pipeline(build_session("vlm4rec", remote=options.remote, extra=extra), config)


def _catalog(options: argparse.Namespace) -> int:
    return _report(_pipeline(options).catalog())


def _recommend(options: argparse.Namespace) -> int:
    return _report(_pipeline(options).recommend())


def _report(report: RunReport) -> int:
    for name, count in report.counts.items():
        _say(f"{name:40} {count:>14,}")
    for name, figure in report.figures.items():
        _say(f"{name:40} {figure:>14,.3f}")
    _say(f"{report.stage}: {report.seconds:.1f} s; {report.bottleneck}")
    return 0


def _search(options: argparse.Namespace) -> int:
    if options.k < 1:
        raise ConfigError(f"-k must be 1 or more (found {options.k}).")
    for row in _pipeline(options).search(options.text, options.k).collect():
        _say("\n".join(_told(row.asDict(recursive=True))))
    return 0


def _told(row: dict[str, object]) -> list[str]:
    """Return one found item as lines, whatever columns the search brings."""
    score = row.get("score")
    lines = [f"{row.get('rank', '')} {row.get('title') or row.get('item_id')} ({score:.3f})"]
    hidden = ("rank", "title", "score")
    return lines + [f"    {key}: {value}" for key, value in row.items() if key not in hidden]


def _ddl(options: argparse.Namespace) -> int:
    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.tables import ALL_TABLES

    tables = _config(options).tables
    names = TableNames(tables.catalog, tables.schema_name, tables.location)
    _say(f"CREATE SCHEMA IF NOT EXISTS {names.qualified_schema};")
    for spec in ALL_TABLES:
        qualified, path = names.qualified(spec), names.path(spec)
        create = spec.create_statement(qualified, str(path) if path else None)
        for statement in (create, *spec.constraint_statements(qualified)):
            _say(f"{statement};\n")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from vlm4rec_spark.doctor import examine, table

    checks = examine(_config(options))
    _say(table(checks))
    return int(any(check.state == "bad" for check in checks))


def _demo(options: argparse.Namespace) -> int:
    from vlm4rec_spark.demo.run import run

    _say(run(options.conf or "demo", options.set))
    return 0


def _say(text: str) -> None:
    """Write a line of the answer; logs go to the other stream."""
    sys.stdout.write(text + "\n")


def _say_error(error: Exception) -> None:
    sys.stderr.write(f"vlm4rec: {error}\n")
    logger.debug("where it was raised", exc_info=error)


if __name__ == "__main__":
    sys.exit(main())

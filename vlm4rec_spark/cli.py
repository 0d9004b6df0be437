"""The command line: recommend from pictures, as Spark batch jobs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from vlm4rec_spark import __version__
from vlm4rec_spark.commands import evidence, jobs, look, operations
from vlm4rec_spark.commands.command import Command, Parser, common_options, spark_options
from vlm4rec_spark.errors import ConfigError, Vlm4RecError
from vlm4rec_spark.logs import set_up

logger = logging.getLogger(__name__)

COMMANDS: tuple[Command, ...] = (
    *jobs.COMMANDS,
    *evidence.COMMANDS,
    *look.COMMANDS,
    *operations.COMMANDS,
)
_EPILOG = """Exit status: 0 done; 1 the run failed, or a check found something; 2 wrong arguments
or configuration. Every command takes --conf FILE; `vlm4rec COMMAND --help` says more and gives
examples."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0: done; 1: the run failed, or a check found something; 2: wrong arguments or configuration.
    """
    options = _parser().parse_args(arguments)
    set_up(verbose=options.verbose, form=options.log_format)
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
    """Run a command and leave; the whole body of a script in jobs/."""
    code = main([job, *(sys.argv[1:] if arguments is None else arguments)])
    # Databricks takes any SystemExit of a script, also of 0, for a failure.
    if code:
        sys.exit(code)


def _parser() -> Parser:
    parser = Parser(
        "vlm4rec",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        part = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=command.more,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        part.set_defaults(command=command.run)
        common_options(part)
        if command.starts_spark:
            spark_options(part)
        if command.options:
            command.options(part)
    return parser


def _say_error(error: Exception) -> None:
    sys.stderr.write(f"vlm4rec: {error}\n")
    logger.debug("where it was raised", exc_info=error)


if __name__ == "__main__":
    sys.exit(main())

"""Commands that look: search, preview, ddl, doctor."""

from __future__ import annotations

import argparse

from vlm4rec_spark.commands.command import (
    Command,
    Parser,
    config_of,
    pipeline_of,
    say,
    say_report,
    session_of,
    spark_settings,
)
from vlm4rec_spark.errors import ConfigError
from vlm4rec_spark.topk.edits import STRENGTH, Edit


def _search(options: argparse.Namespace) -> int:
    if options.k < 1:
        raise ConfigError(f"-k must be 1 or more (found {options.k}).")
    edit = Edit(tuple(options.more), tuple(options.less), options.strength)
    if options.queries:
        if options.text or options.user or options.more or options.less:
            raise ConfigError("--queries brings its own text, more and less.")
        pipeline, place = pipeline_of(options), options.queries
        return say_report(
            pipeline.search_many(place, options.k, options.where, strength=edit.strength)
        )
    if bool(options.text) == bool(options.user):
        raise ConfigError("Give a sentence, or --user ID, or --queries TABLE.")
    found = pipeline_of(options).search(
        options.text or None, options.k, options.where, user_id=options.user, edit=edit
    )
    for row in found.collect():
        say("\n".join(_told(row.asDict(recursive=True))))
    return 0


def _told(row: dict[str, object]) -> list[str]:
    """Return one found item as lines, whatever columns the search brings."""
    score = row.get("score")
    lines = [f"{row.get('rank', '')} {row.get('title') or row.get('item_id')} ({score:.3f})"]
    hidden = ("rank", "title", "score")
    return lines + [f"    {key}: {value}" for key, value in row.items() if key not in hidden]


def _search_options(parser: Parser) -> None:
    parser.add_argument("text", nargs="?", help='"floral midi dress for a garden party"')
    parser.add_argument("--user", metavar="ID", help="search from this user's profile instead")
    parser.add_argument(
        "--more", action="append", default=[], metavar="PHRASE", help='"linen"; repeatable'
    )
    parser.add_argument(
        "--less", action="append", default=[], metavar="PHRASE", help='"florals"; repeatable'
    )
    parser.add_argument(
        "--strength", type=float, default=STRENGTH, help="weight of such a phrase, default 0.5"
    )
    parser.add_argument(
        "--queries", metavar="TABLE", help="many at once, from a table or file into `searches`"
    )
    parser.add_argument("-k", type=int, default=10, help="number of items")
    parser.add_argument("--where", help='condition on the items: "price < 50"')


def _ddl(options: argparse.Namespace) -> int:
    from vlm4rec_spark.delta import TableNames
    from vlm4rec_spark.tables import ALL_TABLES
    from vlm4rec_spark.unity import unity_statements

    tables = config_of(options).tables
    names = TableNames(tables.catalog, tables.schema_name, tables.location)
    say(f"CREATE SCHEMA IF NOT EXISTS {names.qualified_schema};")
    for spec in ALL_TABLES:
        qualified, path = names.qualified(spec), names.path(spec)
        create = spec.create_statement(qualified, path)
        unity = unity_statements(spec, qualified) if tables.catalog else ()
        for statement in (create, *spec.constraint_statements(qualified), *unity):
            say(f"{statement};\n")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from vlm4rec_spark.doctor import examine
    from vlm4rec_spark.doctor_check import table
    from vlm4rec_spark.session import runs_here

    config = config_of(options)
    is_here = runs_here(options.remote, spark_settings(options))
    checks = examine(config, lambda: session_of(options, config), is_here=is_here)
    say(table(checks))
    return int(any(check.state == "bad" for check in checks))


def _preview(options: argparse.Namespace) -> int:
    from vlm4rec_spark.preview.app import serve

    say(f"http://{options.host}:{options.port} (Ctrl-C ends it)")
    serve(config_of(options), options.host, options.port, options.copy)
    return 0


def _preview_options(parser: Parser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address; this machine only by default")
    parser.add_argument("--port", type=int, default=8484)
    parser.add_argument(
        "--copy",
        metavar="FOLDER",
        help="show what publish.files.preview wrote below publish.files.folder, not the tables",
    )


COMMANDS = (
    Command(
        "preview",
        _preview,
        "a web page that shows items, lists and rules",
        "Search by a sentence, an item with its attributes and neighbours, a shopper's history\n"
        "beside the list, rules tried on it. Reads the tables below tables.location without\n"
        "Spark, writes nothing. There is no log-in: put one in front before you give it another\n"
        "--host. Where the tables are out of reach, as in a Databricks App, --copy shows the copy\n"
        "that `vlm4rec publish` wrote; pictures are then read from their volume.\n\n"
        "  vlm4rec preview --conf demo\n"
        "  vlm4rec preview --copy /Volumes/main/recs/export",
        _preview_options,
        starts_spark=False,
    ),
    Command(
        "search",
        _search,
        "find items by a sentence, a user's profile, or a table of sentences",
        "The sentence is embedded like the items' captions. --more and --less move it, or a\n"
        "user's profile, by the vectors of phrases; what must not be found at all is --where.\n\n"
        '  vlm4rec search "a rug for a child\'s room" -k 5 --conf my_shop.yml\n'
        "  vlm4rec search --user 4711 --more linen --less florals --conf my_shop.yml\n"
        "  vlm4rec search --queries main.shop.queries -k 20 --conf my_shop.yml",
        _search_options,
    ),
    Command(
        "ddl",
        _ddl,
        "print the CREATE TABLE statements",
        "Needs no Spark and no database.",
        starts_spark=False,
    ),
    Command(
        "doctor",
        _doctor,
        "check this machine and the configuration",
        "Looks at Java, packages, jars, GPU, models, tables and sources. Exit status 1 when one\n"
        "of them is bad; the line says what mends it.",
    ),
)

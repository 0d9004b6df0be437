"""Tables as Markdown, and as one HTML file that needs nothing else: no script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from vlm4rec_spark.evaluation.charts import bar
from vlm4rec_spark.evaluation.tables import Bar, Table


def markdown(
    title: str, warnings: Sequence[str], verdicts: Sequence[str], tables: Sequence[Table]
) -> str:
    """Return the report as Markdown."""
    lines = [f"# {title}", ""]
    lines += [f"> **{_plain(text)}**\n" for text in warnings]
    lines += [f"- {_plain(text)}" for text in verdicts]
    for table in tables:
        shown = [n for n, name in enumerate(table.header) if name]
        lines += ["", f"## {_plain(table.title)}", ""]
        lines.append("| " + " | ".join(_plain(table.header[n]) for n in shown) + " |")
        lines.append("|" + "---|" * len(shown))
        for row in table.rows:
            lines.append("| " + " | ".join(_plain(str(row[n])) for n in shown) + " |")
        lines += ["", _plain(table.note)] if table.note else []
    return "\n".join(lines) + "\n"


def html(
    title: str,
    warnings: Sequence[str],
    verdicts: Sequence[str],
    tables: Sequence[Table],
    figure: str,
) -> str:
    """Return the report as a page; every text is escaped."""
    style = (files("vlm4rec_spark.evaluation") / "report.css").read_text("utf-8")
    said = "".join(f'<p class="warning">{escape(text)}</p>' for text in warnings)
    judged = "".join(f"<li>{escape(text)}</li>" for text in verdicts)
    parts = [section(table, number) for number, table in enumerate(tables)]
    parts.insert(min(2, len(parts)), figure)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
        f"<style>{style}</style></head><body><main><h1>{escape(title)}</h1>{said}"
        f'<ul class="verdicts">{judged}</ul>{"".join(parts)}</main></body></html>\n'
    )


def section(table: Table, number: int) -> str:
    """Return a table as a section of a page; every text is escaped."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = "".join(_row(row) for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    # A region that can be scrolled must be reachable from the keyboard.
    return (
        f'<section><h2 id="t{number}">{escape(table.title)}</h2>'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="t{number}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}</section>"
    )


def _row(row: Sequence[str | Bar]) -> str:
    first, *others = row
    cells = "".join(
        f"<td>{bar(cell) if isinstance(cell, Bar) else escape(cell)}</td>" for cell in others
    )
    return f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>'


def _plain(text: str) -> str:
    """Keep a text on one line and inside its cell, and its markup from being one."""
    one_line = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|" else c for c in one_line)

"""The audit as one HTML file: pictures inside, all text escaped, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files

import numpy as np

from vlm4rec_spark.audit import words
from vlm4rec_spark.audit.findings import MOST_SUSPECTS, SHOPPERS, Findings
from vlm4rec_spark.audit.neighbours import NONE
from vlm4rec_spark.evaluation.page import section
from vlm4rec_spark.evaluation.tables import Table

TITLE = "Audit: what the words changed"
SPACE_WORDS = {
    "picture": "by picture",
    "title": "by title",
    "caption": "by description",
    SHOPPERS: "by shoppers who turned to both",
}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(
    findings: Findings, shown: Sequence[int], pictures: Mapping[int, bytes], notes: Sequence[str]
) -> str:
    """Return the page.

    Args:
        findings: everything found.
        shown: positions in `findings.probes` of the items that get a card, in order.
        pictures: row -> small JPEG.
        notes: said at the top.
    """
    here = files("vlm4rec_spark")
    style = "".join(
        (here / part).read_text("utf-8") for part in ("evaluation/report.css", "audit/audit.css")
    )
    script = (here / "audit" / "audit.js").read_text("utf-8")
    said = "".join(f'<p class="warning">{escape(note)}</p>' for note in notes)
    tables = "".join(section(table, n) for n, table in enumerate(all_tables(findings)))
    cards = "".join(_card(findings, place, pictures) for place in shown)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(TITLE)}</title>'
        f"<style>{style}{_picture_rules(pictures)}</style></head><body><main>"
        f'<h1>{escape(TITLE)}</h1>{said}<nav><a href="#cards">Items side by side</a> '
        f'<a href="#tables">Figures</a></nav>'
        f'<section aria-labelledby="cards"><h2 id="cards">Items side by side</h2>'
        f'{_filters(findings, shown)}<div id="items">{cards}</div></section>'
        f'<div id="tables">{tables}</div></main>'
        f"<script>{script}</script></body></html>\n"
    )


def _picture_rules(pictures: Mapping[int, bytes]) -> str:
    """Return a rule per picture: each is in the file once, however often it is shown."""
    return "".join(
        f".p{row}{{background-image:url(data:image/jpeg;base64,"
        f"{base64.b64encode(jpeg).decode('ascii')})}}"
        for row, jpeg in sorted(pictures.items())
    )


def _filters(findings: Findings, shown: Sequence[int]) -> str:
    rows = [int(findings.probes[place]) for place in shown]
    categories = sorted({findings.items.categories[row] or "" for row in rows} - {""})
    values = sorted({_tag(n, v) for row in rows for n, v in findings.items.words[row].items()})
    return (
        '<form id="filters" aria-label="Filters">'
        f'<label>Category <select id="category">{_options(categories)}</select></label>'
        f'<label>Attribute <select id="value">{_options(values)}</select></label>'
        '<output id="count" aria-live="polite"></output></form>'
    )


def _options(values: Sequence[str]) -> str:
    listed = "".join(f'<option value="{escape(v)}">{escape(v)}</option>' for v in values)
    return f'<option value="">all</option>{listed}'


def _tag(name: str, value: str) -> str:
    return f"{name.replace('_', ' ')}: {value}"


def _card(findings: Findings, place: int, pictures: Mapping[int, bytes]) -> str:
    items, row = findings.items, int(findings.probes[place])
    tags = [_tag(n, v) for n, v in items.words[row].items()]
    odd = [s for s in findings.suspects if row in (s.row, s.other)]
    shared = " · ".join(
        f"{a}/{b} {share[place]:.0%}"
        for (a, b), share in findings.overlaps.items()
        if np.isfinite(share[place]) and "caption" in (a, b)
    )
    return (
        f'<article data-category="{escape(items.categories[row] or "")}" '
        f'data-values="{escape("|".join(tags))}">{_picture(row, items.titles[row], pictures)}'
        f"<div><h3>{escape(_short(items.titles[row]))}</h3>"
        f'<p class="note">{escape(items.ids[row])} · {escape(items.categories[row] or "")} · '
        f"common neighbours: {escape(shared or 'none to compare')}</p>"
        f"<p>{escape(items.descriptions[row] or 'No description.')}</p>"
        f'<ul class="tags">{"".join(f"<li>{escape(tag)}</li>" for tag in tags)}</ul>'
        f"{''.join(f'<p class=odd>{escape(s.kind)}: {escape(s.why)}</p>' for s in odd)}</div>"
        f'<div class="spaces">{"".join(_strips(findings, place, pictures))}</div></article>'
    )


def _strips(findings: Findings, place: int, pictures: Mapping[int, bytes]) -> Iterator[str]:
    for space, around in findings.neighbours.items():
        rows = [int(n) for n in around[place] if n != NONE]
        shown = "".join(
            f"<li>{_picture(n, findings.items.titles[n], pictures)}"
            f"<small>{escape(_short(findings.items.titles[n]))}</small></li>"
            for n in rows
        )
        listed = f'<ul class="strip">{shown}</ul>' if rows else '<p class="note">none</p>'
        yield f"<section><h4>{escape(SPACE_WORDS.get(space, space))}</h4>{listed}</section>"


def _picture(row: int, title: str, pictures: Mapping[int, bytes]) -> str:
    if row not in pictures:
        return '<span class="pic none">no picture</span>'
    return f'<span class="pic p{row}" role="img" aria-label="{escape(_short(title))}"></span>'


def _short(text: str, most: int = 60) -> str:
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return one_line if len(one_line) <= most else one_line[: most - 1] + "…"


def all_tables(findings: Findings) -> list[Table]:
    """Return the figures: spaces compared, suspects, the quality of the words."""
    return [*_space_tables(findings), *_suspect_tables(findings), *_word_tables(findings)]


def _space_tables(findings: Findings) -> Iterator[Table]:
    k = next(iter(findings.neighbours.values())).shape[1]
    rows = [
        (f"{a} and {b}", f"{np.nanmean(share):.3f}", f"{int(np.isfinite(share).sum()):,}")
        for (a, b), share in findings.overlaps.items()
        if np.isfinite(share).any()
    ]
    yield Table(f"Common neighbours of two spaces, of {k}", ("spaces", "share", "items"), rows)
    spaces = list(findings.neighbours)
    header = ("attribute", *spaces, "chance", "oracle")
    agreed = [
        (name, *(f"{by_space[s][0]:.3f}" if np.isfinite(by_space[s][0]) else "" for s in spaces),
         f"{by_space['caption'][1]:.3f}", f"{by_space['caption'][2]:.3f}")
        for name, by_space in findings.agreements.items()
    ]  # fmt: skip
    yield Table(
        f"Neighbours that share a value, of {k}", header, agreed,
        note="Attributes as described, not as they are: the description's own space has a head "
        "start in all but the category. Chance: a random other item. Oracle: items of the same "
        "value first.",
    )  # fmt: skip
    yield Table(
        "Distance and hubs", ("space", "distance against tags (CorrEmbed)", "hub skewness"),
        [(s, f"{findings.correlations[s]:.3f}" if s in findings.correlations else "",
          f"{findings.hubs[s]:.2f}") for s in spaces],
        note="Rank correlation of vector distance with the tag distance of described attributes; "
        "hub skewness: large where a few items are neighbours of many.",
    )  # fmt: skip


def _suspect_tables(findings: Findings) -> Iterator[Table]:
    titles, ids = findings.items.titles, findings.items.ids
    for kind in ("contradiction", "near-copy", "picture or category"):
        found = [s for s in findings.suspects if s.kind == kind]
        rows = [
            (ids[s.row], _short(titles[s.row]), ids[s.other] if s.other is not None else "", s.why)
            for s in found[:MOST_SUSPECTS]
        ]
        note = f"{len(found):,} in all; a person decides." if found else "None found."
        yield Table(f"To look at: {kind}", ("item", "title", "other item", "why"), rows, note)


def _word_tables(findings: Findings) -> Iterator[Table]:
    texts = [text for text in findings.items.descriptions if text]
    low, middle, high = words.lengths(texts)
    yield Table(
        "Attributes", ("attribute", "asked", "not visible", "values", "entropy, bits", "commonest"),
        [(s.name, f"{s.asked:,}", f"{s.not_visible:.1%}", f"{s.values:,}", f"{s.entropy:.2f}",
          f"{_short(s.commonest)} ({s.commonest_share:.0%})") for s in findings.spreads],
        note=f"{len(texts):,} descriptions; words each (5th, 50th, 95th percentile): {low}, "
        f"{middle}, {high}.",
    )  # fmt: skip
    phrases = [(phrase, f"{share:.1%}") for phrase, share in words.repeated_phrases(texts)]
    yield Table("Repeated phrases of four words", ("phrase", "descriptions that hold it"), phrases)
    items = findings.items
    yield Table(
        "Gendered and loaded wording", ("words", "category", "described", "catalogue", "items"),
        [(w.kind, w.category, f"{w.described:.1%}", f"{w.catalogue:.1%}", f"{w.items:,}")
         for w in words.wordings(items.descriptions, items.said, items.categories)],
        note="Share of items whose text uses such a word; more in the description than in the "
        "catalogue is the model's own.",
    )  # fmt: skip
    yield Table(
        "Confidence against being right", ("confidence", "right", "values"),
        [(f"{b.confidence:.2f}", f"{b.accuracy:.2f}", f"{b.n:,}") for b in findings.reliability],
        note="" if findings.reliability else "The model gave no confidence, or the catalogue names "
        "no value to hold it against.",
    )  # fmt: skip

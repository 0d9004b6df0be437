"""The audit: reads items, descriptions, vectors and the log; writes one HTML file, no table."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlm4rec_spark.audit.findings import find
from vlm4rec_spark.audit.inputs_job import (
    read_items,
    read_spaces,
    read_taken_together,
    read_thumbnails,
)
from vlm4rec_spark.audit.page import page
from vlm4rec_spark.runs import RunReport

if TYPE_CHECKING:
    from vlm4rec_spark.audit.items import Items
    from vlm4rec_spark.audit.neighbours import Ints
    from vlm4rec_spark.runs import RunContext

logger = logging.getLogger(__name__)


def run(context: RunContext) -> RunReport:
    """Compare what is near what in each space, and write audit.html.

    Raises:
        SourceError: the catalogue is empty, or the interactions cannot be read.
    """
    started = time.monotonic()
    config = context.config.audit
    items = read_items(context)
    spaces = read_spaces(context, items)
    probes = _probes(items, config.probes)
    together = read_taken_together(context, items, probes, config.k)
    found = find(items, spaces, probes, together, config.facts, config.k)
    shown = [int(place) for place in found.by_disagreement[: config.shown]]
    visible = [probes[shown], *(around[shown].ravel() for around in found.neighbours.values())]
    rows = np.unique(np.concatenate(visible)).astype(np.int64)
    pictures = read_thumbnails(context, items, rows[rows >= 0])
    folder = Path(config.report).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    notes = [config.note] if config.note else []
    (folder / "audit.html").write_text(page(found, shown, pictures, notes), "utf-8")
    logger.info("the audit is %s", folder / "audit.html")
    counts = {"items": len(items), "probes": len(probes), "shown": len(shown)}
    for kind in sorted({suspect.kind for suspect in found.suspects}):
        name = kind.replace(" ", "_").replace("-", "_")
        counts[name] = sum(suspect.kind == kind for suspect in found.suspects)
    figures = {
        f"overlap_{a}_{b}": float(np.nanmean(share))
        for (a, b), share in found.overlaps.items()
        if np.isfinite(share).any()
    }
    seconds = time.monotonic() - started
    files = (folder / "audit.html",)
    where = "reading vectors and pictures"
    return RunReport("audit", counts, figures, seconds, where, files=files)


def _probes(items: Items, most: int) -> Ints:
    """Return rows of described items, the same ones every time, ascending."""
    described = np.flatnonzero([bool(text) for text in items.descriptions])
    chosen = np.random.default_rng(0).permutation(described)[:most]
    return np.sort(chosen).astype(np.int64)

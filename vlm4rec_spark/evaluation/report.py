"""The report of an evaluation, as one HTML file and as Markdown: the same tables in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from vlm4rec_spark import __version__
from vlm4rec_spark.evaluation import page, tables
from vlm4rec_spark.evaluation.charts import ColdCurve, curve
from vlm4rec_spark.evaluation.tables import POOL_WORDS, Table, found, interval_text

if TYPE_CHECKING:
    from datetime import datetime

    from vlm4rec_spark.config_evaluation import EvaluateConfig, ProfileChange
    from vlm4rec_spark.evaluation.fates import Step
    from vlm4rec_spark.evaluation.results import Result

FEWEST_ITEMS, FEWEST_USERS = 1000, 500
"""Below either the report says that it allows no claim."""
FEWEST_TO_JUDGE = 50
"""Users under which an interval says nothing."""
AGES = ("day 0-1", "day 2-7", "day 8-30", "older")
MOST_CURVES = 6
TITLE = "Evaluation: what the words are worth"


@dataclass(frozen=True)
class Evaluation:
    """Everything a report tells."""

    run_id: str
    config_hash: str
    settings: EvaluateConfig
    cut: datetime | None
    steps: Sequence[Step]
    n_items: int
    n_cold: int
    n_users: int
    encoder: str
    vectors: dict[str, int]
    left_out: dict[str, str]
    tuning: str
    results: list[Result]
    folder: Path


def write_reports(evaluation: Evaluation) -> Path:
    """Write report.html and report.md; return their folder."""
    evaluation.folder.mkdir(parents=True, exist_ok=True)
    parts = _tables(evaluation)
    warnings, verdicts = _warnings(evaluation), _verdicts(evaluation)
    markdown = page.markdown(TITLE, warnings, verdicts, parts)
    html = page.html(TITLE, warnings, verdicts, parts, curve(_cold_curve(evaluation)))
    (evaluation.folder / "report.md").write_text(markdown, "utf-8")
    (evaluation.folder / "report.html").write_text(html, "utf-8")
    return evaluation.folder


def _warnings(evaluation: Evaluation) -> list[str]:
    """Return what a reader must know before the first number."""
    settings = evaluation.settings
    said = [settings.note] if settings.note else []
    if evaluation.n_items < FEWEST_ITEMS or evaluation.n_users < FEWEST_USERS:
        said.append(
            f"{evaluation.n_items:,} items and {evaluation.n_users:,} test users are too few for "
            "any claim of quality: read this as a trial of the machinery."
        )
    if settings.split.kind == "last_n":
        said.append(
            "The split takes each user's last events: training holds what other users did later, "
            "which no recommender could have known. Scores are too high, and their order may be "
            "another one in production (arXiv 2010.11060). Use split.kind time for a decision."
        )
    return said


def _verdicts(evaluation: Evaluation) -> list[str]:
    """Return one sentence per arm that competes with the baseline, whole catalogue and cold."""
    metric = f"NDCG@{evaluation.settings.k}"
    told = []
    for pool, words in POOL_WORDS.items():
        whole = [r for r in evaluation.results if (r.pool, r.metric) == (pool, metric)]
        kept = [r for r in whole if (r.slice, r.variants) == ("everyone", "kept")]
        if kept:
            best = max(kept, key=lambda r: r.value)
            told.append(f"Best, {words}: {best.arm}, {metric} {interval_text(best)}.")
        for arm in ("caption", "title_caption"):
            row = found(evaluation.results, arm=arm, pool=pool, metric=metric)
            if row is None or row.baseline is None:
                continue
            told.append(
                f"{arm} against {row.baseline}, {words}: {metric} {row.difference:+.4f} "
                f"[{row.difference_low:+.4f}, {row.difference_high:+.4f}], {_judged(row)} "
                f"({row.n_users:,} users)."
            )
    return told


def _judged(row: Result) -> str:
    if row.n_users < FEWEST_TO_JUDGE:
        return "too few users to tell"
    if row.difference_low > 0:
        return "better: the 95 % interval lies above zero"
    if row.difference_high < 0:
        return "worse: the 95 % interval lies below zero"
    return "no difference shown: the 95 % interval holds zero"


def _tables(evaluation: Evaluation) -> list[Table]:
    k, results = evaluation.settings.k, evaluation.results
    return [
        *tables.arms(results, k),
        tables.accuracy(results, k),
        *tables.slices(results, k),
        tables.beyond(results, k),
        tables.split(evaluation.steps),
        _made(evaluation),
    ]


def _made(evaluation: Evaluation) -> Table:
    settings = evaluation.settings
    rows = [
        ("run", evaluation.run_id),
        ("configuration", evaluation.config_hash),
        ("version", __version__),
        ("split", f"{settings.split.kind}, cut {evaluation.cut or 'per user'}"),
        ("items", (f"{evaluation.n_items:,}, all of them candidates; {evaluation.n_cold:,} without "
                  "a training event (cold)")),
        ("test users", f"{evaluation.n_users:,}, the same for every arm"),
        ("lists", (f"k = {settings.k}; seen items masked; ties by item id; a user without a list "
                  "counts as 0")),
        ("encoder", f"{evaluation.encoder}, for every arm made of text"),
        ("misaligned", _misaligned(settings)),
        ("vectors", ", ".join(f"{name} {n:,}" for name, n in evaluation.vectors.items())),
        *((f"arm {name}", f"profiles: {_changed(change)}")
          for name, change in settings.profile_arms.items()),
        ("hyper-parameters", evaluation.tuning),
        ("intervals", (f"95 %, paired bootstrap over users, {settings.resamples:,} draws, seed "
                      f"{settings.seed}; p adjusted over the arms (Holm)")),
        *((f"left out: {name}", why) for name, why in evaluation.left_out.items()),
    ]  # fmt: skip
    return Table("How this was made", ("what", "value"), rows, note=(
        "Availability is not a mask here: today's stock says nothing about the days of the test."
    ))  # fmt: skip


def _changed(change: ProfileChange) -> str:
    """Return the options that an arm changes, as they are written in the configuration."""
    options = change.model_dump(exclude_none=True)
    told = yaml.safe_dump(options, default_flow_style=True, sort_keys=False, width=math.inf)
    return told.strip()


def _misaligned(settings: EvaluateConfig) -> str:
    if settings.misaligned_schema is None:
        return "a text about the picture's file; the model was not asked"
    return f"attributes that the model named to another prompt, from {settings.misaligned_schema}"


def _cold_curve(evaluation: Evaluation) -> ColdCurve:
    """Return the share of hits by the age of an item, for the arms that matter most."""
    metric = f"HitRate@{evaluation.settings.k}"
    rows = [r for r in evaluation.results if (r.slice, r.pool, r.metric) == ("age", "all", metric)]
    wanted = ("caption", "title", "title_caption", "popular", "item_knn", "oracle", "random")
    names = [name for name in wanted if any(r.arm == name for r in rows)][:MOST_CURVES]
    ages = [age for age in AGES if any(r.segment == age for r in rows)]
    by_place = {(r.arm, r.segment): r for r in rows}
    return ColdCurve(
        metric,
        [f"{age} ({by_place[names[0], age].n_users})" for age in ages] if names else [],
        {name: [by_place[name, age].value for age in ages] for name in names},
    )

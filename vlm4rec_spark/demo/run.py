"""`vlm4rec demo`: both jobs on the synthetic shop, and a summary of what came out."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm4rec_spark import delta
from vlm4rec_spark.config import load_config
from vlm4rec_spark.demo.evidence import evidence, told
from vlm4rec_spark.demo.misaligned import describe_misaligned
from vlm4rec_spark.demo.world import write_world
from vlm4rec_spark.descriptions.local import LocalSpec
from vlm4rec_spark.descriptions.server import LocalServer
from vlm4rec_spark.descriptions.specs import engine_spec
from vlm4rec_spark.errors import Vlm4RecError
from vlm4rec_spark.pipeline import Pipeline
from vlm4rec_spark.session import SMALL_DATA, build_session
from vlm4rec_spark.tables import ALL_TABLES, COMPLEMENTS, DESCRIPTIONS, ITEMS, RECOMMENDATIONS

if TYPE_CHECKING:
    from vlm4rec_spark.config import Config
    from vlm4rec_spark.demo.settings import ShopConfig
    from vlm4rec_spark.runs import RunContext, RunReport

logger = logging.getLogger(__name__)

FOLDER = Path("build/demo")
SUMMARY = FOLDER / "summary.json"
LISTS_SHOWN = 3
ITEMS_SHOWN = 4


def run(
    conf: str = "demo",
    overrides: Sequence[str] = (),
    shop: ShopConfig | None = None,
    settings: Mapping[str, str] | None = None,
) -> str:
    """Draw the shop where it is missing, run both jobs, and tell what came out.

    Args:
        conf: configuration, `demo` for the one shipped.
        overrides: settings as `a.b=c`.
        shop: the synthetic shop; None: the default one. Another one replaces what is there.
        settings: further ones of Spark, which win.

    Returns:
        The summary in words; the same figures are in build/demo/summary.json.

    Raises:
        Vlm4RecError: a job failed.
    """
    started = time.monotonic()
    config = load_config(conf, overrides)
    write_world(FOLDER / "shop", shop)
    if not SUMMARY.exists():
        _start_server(config)
    extra = {**SMALL_DATA, **(settings or {})}
    spark = build_session("vlm4rec-demo", extra=extra, warehouse=str(FOLDER / "warehouse"))
    pipeline = Pipeline(spark, config)
    catalog = pipeline.catalog()
    control = describe_misaligned(pipeline, catalog)  # while the model server still runs
    recommend = pipeline.recommend()
    summary = summarise(pipeline.context, catalog, control, recommend)
    summary |= evidence(pipeline, (catalog, recommend), SUMMARY)
    summary["seconds"] = round(time.monotonic() - started, 1)
    SUMMARY.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    return "\n".join([*_told(summary), *_lists(pipeline.context), *outfit(pipeline.context)])


def _start_server(config: Config) -> None:
    """Let the model server start beside Spark: alone, each takes a minute on a small machine."""
    spec = engine_spec(config)
    if isinstance(spec, LocalSpec):
        threading.Thread(target=_ensure, args=(spec,), daemon=True).start()


def _ensure(spec: LocalSpec) -> None:
    with contextlib.suppress(Vlm4RecError):  # the stage that needs the server will tell it
        LocalServer(spec).ensure()


def summarise(
    context: RunContext, catalog: RunReport, control: RunReport | None, recommend: RunReport
) -> dict[str, Any]:
    """Return the figures of both jobs; items and users are counted in the tables.

    `control` is the report of the second pass with the wrong prompt, where it was made.
    """
    spark, names, config = context.spark, context.names, context.config
    items = delta.read(spark, ITEMS, names)
    described = delta.read(spark, DESCRIPTIONS, names).where("status = 'ok'").select("request_key")
    lists = delta.read(spark, RECOMMENDATIONS, names).groupBy("user_id").count()
    n_items = items.count()
    n_described = items.join(described, "request_key", "left_semi").count()
    return {
        "items": n_items,
        "described": n_described,
        "failed": n_items - n_described,
        "vlm_requests": requests_sent(catalog, control),
        "pictures_per_s": round(_figure(catalog, "pictures_per_s") or 0.0, 2),
        "users": lists.count(),
        "users_with_full_lists": lists.where(f"count >= {config.topk.k}").count(),
        "audited_recall": _figure(recommend, "audited_recall"),
        "seconds": 0.0,
        "tables": {
            spec.name: str(names.path(spec) or names.qualified(spec)) for spec in ALL_TABLES
        },
    }


def requests_sent(*reports: RunReport | None) -> int:
    """Return how many requests the model got in all passes; None is one that was not made."""
    return sum(int(_figure(report, "requests") or 0) for report in reports if report)


def _figure(report: RunReport, name: str) -> float | None:
    """Return a count or figure by its name, whichever stage it belongs to; None: not measured."""
    every = {**report.counts, **report.figures}
    found = [value for key, value in every.items() if key.rpartition(".")[2] == name]
    return float(found[0]) if found else None


def _told(summary: dict[str, Any]) -> list[str]:
    place = Path(summary["tables"]["items"]).parent
    audited = summary["audited_recall"]
    recall = "not measured" if audited is None else f"{audited:.3f}"
    return [
        "",
        "The demo shop is synthetic: it shows that the jobs work, not that words beat titles.",
        f"  items       {summary['items']}, {summary['described']} of them described",
        f"  failed      {summary['failed']}, broken and missing pictures among them",
        f"  model       {summary['vlm_requests']} requests, {summary['pictures_per_s']} pictures/s",
        f"  lists       {summary['users']} users, {summary['users_with_full_lists']} of them full",
        f"  recall      {recall}, audited against exact search",
        *told(summary),
        f"  time        {summary['seconds']} s",
        f"  tables      {place}",
        f"  figures     {SUMMARY}",
    ]


def _lists(context: RunContext) -> list[str]:
    """Return three lists in words, with the reason of each item."""
    spark, names = context.spark, context.names
    lists = delta.read(spark, RECOMMENDATIONS, names).where("arm = 'profile'")
    users = lists.select("user_id").distinct().orderBy("user_id").limit(LISTS_SHOWN)
    titles = delta.read(spark, ITEMS, names).select("item_id", "title")
    rows = (
        lists.where(f"rank <= {ITEMS_SHOWN}").join(users, "user_id").join(titles, "item_id", "left")
        .orderBy("user_id", "rank").collect()
    )  # fmt: skip
    lines: list[str] = []
    for row in rows:
        if row["rank"] == 1:
            lines += ["", f"For user {row['user_id']}:"]
        lines.append(f"  {row['rank']}. {row['title'] or row['item_id']}: {row['reason']}")
    return lines


def outfit(context: RunContext) -> list[str]:
    """Return what completes one item, with reasons."""
    spark, names = context.spark, context.names
    complements = delta.read(spark, COMPLEMENTS, names)
    titles = delta.read(spark, ITEMS, names).select("item_id", "title")
    wanted = titles.withColumnsRenamed({"item_id": "target_item_id", "title": "target"})
    target = complements.select("target_item_id").orderBy("target_item_id").limit(1)
    rows = (
        complements.where(f"rank <= {ITEMS_SHOWN}").join(target, "target_item_id", "left_semi")
        .join(wanted, "target_item_id").join(titles, "item_id").orderBy("rank").collect()
    )  # fmt: skip
    return [
        line
        for row in rows
        for line in (
            *(["", f"To complete {row['target']}:"] if row["rank"] == 1 else []),
            f"  {row['rank']}. {row['title'] or row['item_id']}: {row['reason']}",
        )
    ]

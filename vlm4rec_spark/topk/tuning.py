"""The engine of a run: chosen, tuned on sampled users, and audited on others."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vlm4rec_spark.profiles.vectors import histories, query_profiles
from vlm4rec_spark.topk.engines.choice import (
    EngineSpec,
    Sample,
    chosen_engine,
    open_engine,
    tuned,
    widest,
)
from vlm4rec_spark.topk.lists import hides_itself, list_masks

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from vlm4rec_spark.config_lists import TopkConfig
    from vlm4rec_spark.topk.audit import Audit, Recall
    from vlm4rec_spark.topk.lists import ListSpec
    from vlm4rec_spark.topk.snapshot import Snapshot

logger = logging.getLogger(__name__)
MOST_SEARCHES = 2000


def engine_for(
    snapshot: Snapshot,
    sample: pa.Table,
    settings: TopkConfig,
    searches: int,
    lists: ListSpec,
) -> EngineSpec:
    """Choose an engine and the smallest width that reaches the target on sampled users.

    Args:
        snapshot: the catalogue.
        sample: history of the sampled users.
        settings: engine and recall target.
        searches: how many there will be.
        lists: how lists are made, whatever the engine.

    Raises:
        MissingExtraError: ScaNN is asked for and not installed.
    """
    if settings.recall_target >= 1:
        return EngineSpec("exact")
    n, dimensions = snapshot.vectors.shape
    name = chosen_engine(settings.engine, n, searches, dimensions)
    if name == "exact" or not n:
        return EngineSpec("exact")
    most = widest(name, n)
    truth = _sample(snapshot, sample, lists)
    width, reached = tuned(
        lambda w: open_engine(EngineSpec(name, w), snapshot), truth, most, settings.recall_target
    )
    logger.info("%s searches with width %d of %d: recall %.4f", name, width, most, reached.mean)
    return EngineSpec(name, width)


def widened(
    engine: EngineSpec, n: int, target: float, measure: Callable[[EngineSpec, int], Audit]
) -> tuple[EngineSpec, Audit]:
    """Search twice as wide as long as an audit misses the target; return the engine and its audit.

    Args:
        engine: as tuned.
        n: rows it searches. The recall of the widest search may still lie under the target.
        target: recall.
        measure: audits an engine; told which audit it is, so that each has a sample of its own.
    """
    most = widest(engine.name, n)
    for number in itertools.count(1):
        audited = measure(engine, number)
        recall = audited.worst.mean
        if recall >= target or engine.name == "exact" or engine.width >= most:
            break
        engine = replace(engine, width=min(2 * engine.width, most))
        logger.info("recall %.4f of another sample: width %d now", recall, engine.width)
    return engine, audited


def serves_again(settings: TopkConfig, before: EngineSpec) -> bool:
    """Tell whether the engine of an earlier run is one that could be chosen now."""
    if settings.recall_target >= 1:
        return before.name == "exact"
    if settings.engine != "auto":
        return before.name == settings.engine
    return before.name != "scann"  # the matrix has its files only where it is asked for


def audit(snapshot: Snapshot, sample: pa.Table, lists: ListSpec) -> Recall:
    """Return the recall of an engine on the interests, or liked items, of the users of a sample.

    Rules count: where few items may be given, they are farther away.
    """
    return _sample(snapshot, sample, lists).recall(open_engine(lists.engine, snapshot))


def audit_neighbours(snapshot: Snapshot, lists: ListSpec, items: int, number: int) -> Recall:
    """Return the recall of an engine on the neighbours of some items.

    Args:
        snapshot: the catalogue.
        lists: engine, and length of a list.
        items: how many are sampled at most.
        number: of the audit; each has items of its own.
    """
    n, rng = len(snapshot), np.random.default_rng(number)
    targets = np.sort(rng.choice(n, min(items, n) if lists.k else 0, replace=False))
    queries = np.ascontiguousarray(snapshot.vectors[targets])
    sample = Sample.of(queries, hides_itself(snapshot, targets), snapshot.vectors, lists.k)
    return sample.recall(open_engine(lists.engine, snapshot))


def _sample(snapshot: Snapshot, history: pa.Table, lists: ListSpec) -> Sample:
    block = histories(history, snapshot.find(history["item_id"].combine_chunks()))
    profiles = query_profiles(snapshot.vectors, block, lists.interests, lists.fusion)
    m = len(profiles.owner)
    # Late fusion makes a search of each liked item: some of all of them are as good a sample.
    chosen = np.unique(np.linspace(0, m - 1, min(m, MOST_SEARCHES)).astype(np.int64))
    masks = list_masks(snapshot, block, lists).of(profiles.owner[chosen])
    queries = np.ascontiguousarray(profiles.vectors[chosen])
    return Sample.of(queries, masks, snapshot.vectors, min(lists.k, max(1, len(snapshot))))

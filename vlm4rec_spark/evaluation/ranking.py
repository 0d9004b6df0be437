"""The lists of a block of users: of every arm, in every view, and of other tools' files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vlm4rec_spark.evaluation.arms import Arm, Block
from vlm4rec_spark.evaluation.catalogue import POOLS, Catalogue, load_catalogue
from vlm4rec_spark.evaluation.measure import VARIANTS
from vlm4rec_spark.profiles.vectors import Histories, histories

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.accuracy import Ints

LISTS = pa.schema(
    [
        pa.field("arm", pa.string()),
        pa.field("pool", pa.string()),
        pa.field("variants", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("rank", pa.int32()),
        pa.field("item_id", pa.string()),
    ]
)
LISTS_DDL = "arm STRING, pool STRING, variants STRING, user_id STRING, rank INT, item_id STRING"


@dataclass(frozen=True)
class RankSpec:
    """What a worker needs to make lists."""

    folder: str
    arms: tuple[Arm, ...]
    k: int


def ranked(history: pa.Table, spec: RankSpec) -> pa.Table:
    """Return the lists of a block of users as rows of `LISTS`, from user_id, item_id, weight, seen.

    All arms see one `Block` per view, made here: what may be listed is not theirs to decide.
    """
    catalogue = load_catalogue(spec.folder)
    block = histories(history, catalogue.rows_of(history["item_id"]))
    parts = []
    for pool, variants, excluded in _views(catalogue, block):
        view = Block(catalogue, block, catalogue.pool(pool), excluded)
        for arm in spec.arms:
            lists = list(arm.rank(view, spec.k))
            parts.append(_rows((arm.name, pool, variants), block.users, lists, catalogue))
    return pa.concat_tables(parts)


def admitted(arm: str, foreign: pa.Table, history: pa.Table, spec: RankSpec) -> pa.Table:
    """Return another tool's lists under the same rules: what may not be listed is taken out.

    The places close up. Scores are not read; equal ranks go by item id.

    Args:
        arm: name of the arm.
        foreign: user_id, item_id, rank, in any order; only ids of the catalogue.
        history: as in `ranked`, of the users to be listed.
        spec: folder and k.
    """
    catalogue = load_catalogue(spec.folder)
    block = histories(history, catalogue.rows_of(history["item_id"]))
    place = {user: n for n, user in enumerate(block.users)}
    user = np.array([place.get(u, -1) for u in foreign["user_id"].to_pylist()], np.int64)
    item = catalogue.rows_of(foreign["item_id"])
    order = np.lexsort((item, foreign["rank"].to_numpy(), user))
    user, item = user[order], item[order]
    parts = []
    for pool, variants, excluded in _views(catalogue, block):
        candidates = catalogue.pool(pool)
        lists = []
        for number, banned in enumerate(excluded):
            own = item[np.searchsorted(user, number) : np.searchsorted(user, number, "right")]
            own = own[np.sort(np.unique(own, return_index=True)[1])]
            lists.append(own[np.isin(own, candidates) & ~np.isin(own, banned)][: spec.k])
        parts.append(_rows((arm, pool, variants), block.users, lists, catalogue))
    return pa.concat_tables(parts)


def _views(catalogue: Catalogue, block: Histories) -> Iterator[tuple[str, str, list[Ints]]]:
    """Yield pool, variants, and the rows that may not be listed for each user."""
    seen = [np.unique(block.rows[part][block.seen[part]]) for part in _parts(block)]
    collapsed = [catalogue.with_variants(rows) for rows in seen]
    for pool in POOLS:
        for variants, excluded in zip(VARIANTS, (seen, collapsed), strict=True):
            yield pool, variants, excluded


def _parts(block: Histories) -> list[slice]:
    return [block.of(user) for user in range(len(block.users))]


def _rows(
    name: tuple[str, str, str], users: Sequence[str], lists: Sequence[Ints], catalogue: Catalogue
) -> pa.Table:
    sizes = np.array([len(rows) for rows in lists], np.int64)
    n = int(sizes.sum())
    whole = np.concatenate(lists) if n else np.empty(0, np.int64)
    ranks = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
    columns = [
        *(pa.repeat(word, n) for word in name),
        pa.array(users, pa.string()).take(pa.array(np.repeat(np.arange(len(users)), sizes))),
        pa.array(ranks, pa.int32()),
        catalogue.items["item_id"].combine_chunks().take(pa.array(whole)).cast(pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=LISTS)

"""Bring some lists of a table to a new state, one row of the source for each list.

A list is the rows of one owner, the first column of the key, and their place, the second. With one
source row for each owner the source is small and joins without shuffling the table.
"""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING

from vlm4rec_spark import delta
from vlm4rec_spark.merge_sql import merge_statement
from vlm4rec_spark.table_spec import quoted
from vlm4rec_spark.tables import VOLATILE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.delta import MergeCounts, TableNames
    from vlm4rec_spark.table_spec import TableSpec

logger = logging.getLogger(__name__)
GROWS = "is_whole AND size(places) > n_before"


def replace_lists(
    lists: DataFrame, spec: TableSpec, names: TableNames, run_id: str, first: int = 1
) -> MergeCounts:
    """Put lists in the place of those that their owners have, and let items enter others.

    Each list changes in one commit. Lists that grow and those of new owners come in a second one:
    without rows to insert Delta need not shuffle the table.

    Args:
        lists: owner, is_whole, places, n_before, as `refresh.plan.replacements` returns them; read
            from files, as a merge reads its source twice.
        spec: of the table; its key is the owner and the place.
        names: where the tables live.
        run_id: run that writes.
        first: number of the first place.

    Returns:
        Rows written; rows of whole lists that do not differ are not.
    """
    spark, qualified = lists.sparkSession, names.qualified(spec)
    stay, grow = f"stay_{uuid.uuid4().hex}", f"grow_{uuid.uuid4().hex}"
    grown = lists.where(GROWS)
    lists.where(f"NOT ({GROWS})").createOrReplaceTempView(stay)
    grown.selectExpr("inline(places)").createOrReplaceTempView(grow)
    try:
        statement = update_statement(spec, qualified, stay, run_id, first)
        counts = delta.run_merge(spark, statement)
        if not grown.isEmpty():
            statement = merge_statement(spec, qualified, grow)
            counts += delta.run_merge(spark, statement)
    finally:
        spark.catalog.dropTempView(stay)
        spark.catalog.dropTempView(grow)
    logger.info("%s: %s", spec.name, counts)
    return counts


def update_statement(
    spec: TableSpec, qualified: str, source: str, run_id: str, first: int = 1
) -> str:
    """Return the MERGE that updates and deletes rows of lists and inserts none.

    What enters a full list takes the rows at its end, whose items leave it; the others move down.
    """
    owner, place = spec.key
    mine = f"get(s.places, t.`{place}` - {first})"
    entered = f"t.`{place}` - {first} - (s.n_before - size(s.places))"
    ahead = (
        "size(filter(s.places, p -> p.score > t.score OR (p.score = t.score AND "
        "p.item_id < t.item_id)))"
    )
    same = " AND ".join(
        f"t.`{c}` <=> {mine}.`{c}`" for c in spec.column_names if c not in (owner, *VOLATILE)
    )
    down = f"`{place}` = t.`{place}` + {ahead}, `run_id` = {quoted(run_id)}"
    entering = (  # names come from the specs, rows never enter the text
        f"WHEN MATCHED AND NOT s.is_whole AND {entered} >= 0 "  # noqa: S608
        f"THEN UPDATE SET {_taken(spec, f'get(s.places, {entered})')}\n"
        f"WHEN MATCHED AND NOT s.is_whole AND {ahead} > 0 THEN UPDATE SET {down}"
    )
    return (
        f"MERGE INTO {qualified} t USING {source} s ON t.`{owner}` = s.`{owner}`\n"
        f"WHEN MATCHED AND s.is_whole AND t.`{place}` - {first} >= size(s.places) THEN DELETE\n"
        f"WHEN MATCHED AND s.is_whole AND NOT ({same}) THEN UPDATE SET {_taken(spec, mine)}\n"
        + (entering if "score" in spec.column_names else "")
    )


def _taken(spec: TableSpec, entry: str) -> str:
    return ", ".join(f"`{c}` = {entry}.`{c}`" for c in spec.column_names if c != spec.key[0])

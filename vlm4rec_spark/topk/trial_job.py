"""Lists as they would be: some users, the configuration at hand, no table written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from vlm4rec_spark.profiles.job import judged_events, user_history
from vlm4rec_spark.topk import plan
from vlm4rec_spark.topk.engines.choice import EngineSpec
from vlm4rec_spark.topk.job import search_spec
from vlm4rec_spark.topk.landing import landed
from vlm4rec_spark.topk.list_table import FLOOR

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.runs import RunContext


def trial(context: RunContext, users: Sequence[str]) -> DataFrame:
    """Return the lists that these users would get, as rows of `recommendations`.

    Everything is as in a run but the search, which is exact. Only working files below
    `topk.index_path` are written.

    Args:
        context: the run; its configuration holds the rules to be tried.
        users: ids of the users.

    Raises:
        ConfigError: a rule is wrong.
        SourceError: the interactions cannot be read, or no item has a vector.
    """
    rows = landed(context, user_history(context, judged_events(context)), "trial-history")
    spec = search_spec(context, rows)
    spec = replace(spec, lists=replace(spec.lists, engine=EngineSpec("exact")), shards=1)
    asked = rows.where(F.col("user_id").isin(*users))
    lists = plan.recommendations(asked, len(users), spec)
    # Fetched now: another trial writes its working files in place of these.
    return context.spark.createDataFrame(lists.drop(FLOOR).toArrow())

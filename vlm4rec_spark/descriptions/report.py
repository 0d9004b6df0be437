"""What a describe stage did, in figures, and whether too much of it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm4rec_spark.errors import FailureRateError
from vlm4rec_spark.runs import RunReport

if TYPE_CHECKING:
    from vlm4rec_spark.config_models import DescribeConfig


@dataclass(frozen=True)
class Tally:
    """Sums over the rows one run landed; `causes` are (stage, code, rows, example message)."""

    described: int = 0
    failed: int = 0
    not_sent: int = 0
    pictures: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    latency_ms: float = 0.0
    serving_s: float = 0.0
    causes: tuple[tuple[str, str, int, str], ...] = ()


def report(
    tally: Tally,
    *,
    wanted: int,
    to_send: int,
    items_without_picture: int,
    sending_s: float,
    seconds: float,
) -> RunReport:
    """Build the report; rates are from the first request to the last answer.

    `sending_s` besides that holds the start of the server, reading pictures and the commit.
    """
    rows = tally.described + tally.failed
    counts = {
        "wanted": wanted,
        "reused": wanted - to_send,
        "requests": rows - tally.not_sent,
        "described": tally.described,
        "failed": tally.failed,
        "items_without_picture": items_without_picture,
        "tokens_in": tally.tokens_in,
        "tokens_cached": tally.tokens_cached,
        "tokens_out": tally.tokens_out,
    }
    per_second = 1 / tally.serving_s if tally.serving_s > 0 else 0.0
    figures = {
        "pictures_per_s": tally.pictures * per_second,
        "tokens_out_per_s": tally.tokens_out * per_second,
        "median_latency_ms": float(tally.latency_ms),
        "serving_s": tally.serving_s,
        "sending_s": sending_s if rows else 0.0,
    }
    return RunReport("describe", counts, figures, seconds, _bottleneck(rows, sending_s, seconds))


def _bottleneck(rows: int, sending_s: float, seconds: float) -> str:
    if not rows:
        return "nothing to describe"
    if sending_s > seconds / 2:
        return f"the model: {sending_s / seconds:.0%} of the time went into {rows} requests"
    return "finding out what to describe and writing it"


def check_failures(tally: Tally, settings: DescribeConfig) -> None:
    """Raise when the share of failed requests passes `describe.max_failure_rate`.

    Raises:
        FailureRateError: names the most frequent causes, with an example each.
    """
    rows = tally.described + tally.failed
    if (
        rows < settings.min_rows_for_failure_rate
        or tally.failed <= settings.max_failure_rate * rows
    ):
        return
    causes = "\n".join(
        f"- {count} x {stage}/{code}, for example: {example}"
        for stage, code, count, example in tally.causes
    )
    raise FailureRateError(
        f"{tally.failed} of {rows} requests failed, more than describe.max_failure_rate = "
        f"{settings.max_failure_rate}; the {tally.described} that succeeded are committed. "
        f"Most frequent causes:\n{causes}"
    )

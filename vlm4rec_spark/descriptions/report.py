"""What a describe stage did, in figures, and whether too much of it failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from vlm4rec_spark.descriptions.engine import REQUEST
from vlm4rec_spark.errors import FailureRateError
from vlm4rec_spark.runs import RunReport

if TYPE_CHECKING:
    from vlm4rec_spark.config_models import CostConfig, DescribeConfig

MOST_CAUSES = 5
UNDER_WAY = "under way"
"""What held a stage up that has not ended yet."""
FAILED = "failed: "
"""How that of a stage begins that ended early; its cause follows."""
FULL = 0.8
"""From this share of its places on a server counts as full."""


@dataclass(frozen=True)
class Tally:
    """Sums over the rows one run landed.

    `waited_s`, `fetch_s` and `prepare_s` are summed over requests, `serving_s` is by the clock;
    `causes` are (stage, code, rows, example message), the most frequent first.
    """

    described: int = 0
    failed: int = 0
    not_sent: int = 0
    pictures: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    latency_ms: float = 0.0
    waited_s: float = 0.0
    fetch_s: float = 0.0
    prepare_s: float = 0.0
    serving_s: float = 0.0
    servers: int = 0
    slices: int = 0
    causes: tuple[tuple[str, str, int, str], ...] = ()

    @property
    def rows(self) -> int:
        """Requests that ended, well or not."""
        return self.described + self.failed

    def cost(self, prices: CostConfig) -> float:
        """Return what the tokens and the servers' time cost at these prices."""
        tokens = self.tokens_in * prices.input_per_million + (
            self.tokens_out * prices.output_per_million
        )
        hours = self.serving_s * max(self.servers, 1) / 3600
        return tokens / 1e6 + hours * prices.gpu_hour

    def cost_of(self, rows: int, prices: CostConfig) -> float:
        """Return what so many requests cost at the price of these."""
        return self.cost(prices) / max(self.rows, 1) * rows

    def __add__(self, other: Tally) -> Tally:
        """Add another slice; the middle of latencies is the mean of both, by rows."""
        rows = self.rows + other.rows
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name not in ("causes", "latency_ms", "servers")
        }
        middle = (self.latency_ms * self.rows + other.latency_ms * other.rows) / max(rows, 1)
        counted: Counter[tuple[str, str]] = Counter()
        examples: dict[tuple[str, str], str] = {}
        for stage, code, n, example in (*self.causes, *other.causes):
            counted[stage, code] += n
            examples.setdefault((stage, code), example)
        causes = tuple((s, c, n, examples[s, c]) for (s, c), n in counted.most_common(MOST_CAUSES))
        servers = max(self.servers, other.servers)
        return Tally(**sums, latency_ms=middle, servers=servers, causes=causes)


@dataclass(frozen=True)
class Wanted:
    """Requests the catalogue needs, those of them to send, and items that cannot have one.

    `followers` are neither sent nor done: they wait for a near-duplicate's answer; `failed_before`
    failed for good in an earlier run and are not sent again.
    """

    requests: int = 0
    to_send: int = 0
    items_without_picture: int = 0
    followers: int = 0
    failed_before: int = 0


def report(
    tally: Tally,
    settings: DescribeConfig,
    wanted: Wanted,
    sending_s: float,
    seconds: float,
    copied: int = 0,
) -> RunReport:
    """Build the report; rates are from the first request to the last answer.

    `sending_s` besides that holds the start of the server, reading pictures and the commit;
    `copied` requests took the answer of a near-duplicate.
    """
    counts = {
        "wanted": wanted.requests,
        "reused": wanted.requests - wanted.to_send - wanted.followers - wanted.failed_before,
        "failed_before": wanted.failed_before,
        "requests": tally.rows - tally.not_sent,
        "described": tally.described,
        "failed": tally.failed,
        "copied": copied,
        "left": wanted.to_send - tally.rows + wanted.followers - copied,
        "items_without_picture": wanted.items_without_picture,
        "tokens_in": tally.tokens_in,
        "tokens_cached": tally.tokens_cached,
        "tokens_out": tally.tokens_out,
    }
    per_second = 1 / tally.serving_s if tally.serving_s > 0 else 0.0
    figures = {
        "pictures_per_s": tally.pictures * per_second,
        "tokens_out_per_s": tally.tokens_out * per_second,
        "median_latency_ms": float(tally.latency_ms),
        "in_flight": tally.waited_s * per_second,
        "fetch_s": tally.fetch_s,
        "prepare_s": tally.prepare_s,
        "serving_s": tally.serving_s,
        "sending_s": sending_s if tally.rows else 0.0,
        "cost": tally.cost(settings.cost),
    }
    where = bottleneck(tally, settings.engine.max_num_seqs, sending_s, seconds)
    return RunReport("describe", counts, figures, seconds, where)


def bottleneck(tally: Tally, max_num_seqs: int, sending_s: float, seconds: float) -> str:
    """Say in words what held the stage up.

    By Little's law the requests in flight are the sum of their latencies over the time; where
    they fill the servers, the servers are what everything waits for.
    """
    if not tally.rows:
        return "nothing to describe"
    outside = sending_s - tally.serving_s
    if sending_s < seconds / 2:
        return "finding out what to describe"
    if outside > sending_s / 2:
        return f"commit and start: {outside / sending_s:.0%} of sending was outside of serving"
    places = max_num_seqs * max(tally.servers, 1)
    used = tally.waited_s / max(tally.serving_s, 1e-9) / places
    if used >= FULL:
        return f"the model server: {min(used, 1.0):.0%} of its {places} places were taken"
    reading = "fetch" if tally.fetch_s > tally.prepare_s else "decode"
    return (
        f"{reading}: only {used:.0%} of the {places} places of the model server were taken "
        f"(fetching took {tally.fetch_s:.0f} s, decoding {tally.prepare_s:.0f} s, over all tasks)"
    )


def progress_line(tally: Tally, prices: CostConfig, share: float, seconds: float) -> str:
    """Return how far a run is, in one line; `share` of it was done in `seconds`."""
    per_s = tally.rows / max(seconds, 1e-9)
    to_go = f"{seconds * (1 - share) / share / 60:.0f} min to go" if share else "no answer yet"
    return (
        f"{share:.0%} described ({tally.rows:,} requests, {per_s:.1f}/s), "
        f"{tally.failed:,} failed, cost {tally.cost(prices):.2f}, {to_go}"
    )


def progress_report(
    tally: Tally, prices: CostConfig, share: float, seconds: float, what: str = UNDER_WAY
) -> RunReport:
    """Return the row of `runs` of a stage that is under way, or that ended early: `what` says."""
    counts = {
        "requests": tally.rows - tally.not_sent,
        "described": tally.described,
        "failed": tally.failed,
    }
    per_s = tally.rows / max(seconds, 1e-9)
    figures = {"share_done": share, "requests_per_s": per_s, "cost": tally.cost(prices)}
    return RunReport("describe", counts, figures, seconds, what)


def causes_of(tally: Tally) -> str:
    """Return the most frequent causes of failures, a line with an example each."""
    return "\n".join(
        f"- {count} x {stage}/{code}, for example: {example}"
        for stage, code, count, example in tally.causes
    )


def check_failures(
    tally: Tally, settings: DescribeConfig, rows: int = 0, *, at_end: bool = False
) -> None:
    """Raise when the share of failed requests passes `describe.max_failure_rate`.

    `rows` were to be sent when too many had failed, and the rest was not; 0: none was held back.
    At the end it also raises when no request at all was answered, however few there were: a key
    that is refused must not look like a good run.

    Raises:
        FailureRateError: names the most frequent causes, with an example each.
    """
    if at_end and tally.failed and not tally.described:
        unanswered = sum(rows for stage, _, rows, _ in tally.causes if stage == REQUEST)
        if unanswered == tally.failed:
            raise FailureRateError(
                f"None of {tally.rows} requests was answered. Causes:\n{causes_of(tally)}"
            )
    if too_many_failed(tally, settings, max(rows, tally.rows)):
        raise FailureRateError(
            f"{tally.failed} of {tally.rows} requests failed, more than describe.max_failure_rate "
            f"= {settings.max_failure_rate}; the {tally.described} that succeeded are committed. "
            f"Most frequent causes:\n{causes_of(tally)}"
        )


def too_many_failed(tally: Tally, settings: DescribeConfig, rows: int) -> bool:
    """Tell whether the failures so far are too many for so many requests, all others well."""
    has_enough = rows >= settings.min_rows_for_failure_rate
    return has_enough and tally.failed > settings.max_failure_rate * rows

from __future__ import annotations

from dataclasses import replace

import pytest

from vlm4rec_spark.config_models import CostConfig, DescribeConfig
from vlm4rec_spark.descriptions.metrics import sample_of
from vlm4rec_spark.descriptions.report import (
    Tally,
    Wanted,
    bottleneck,
    check_failures,
    progress_line,
    report,
    too_many_failed,
)
from vlm4rec_spark.errors import FailureRateError

BUSY = Tally(
    described=900, failed=100, pictures=1000, tokens_in=2_000_000, tokens_out=100_000,
    latency_ms=2000.0, waited_s=6000.0, fetch_s=50.0, prepare_s=20.0, serving_s=100.0,
    servers=1, slices=1,
    causes=(("fetch", "missing", 60, "no file"), ("parse", "no_json", 40, "?")),
)  # fmt: skip


def test_a_server_whose_places_are_taken_is_what_everything_waits_for() -> None:
    assert bottleneck(BUSY, 64, 110.0, 120.0).startswith("the model server: 94%")


def test_with_empty_places_the_slower_of_fetching_and_decoding_is_named() -> None:
    idle = replace(BUSY, waited_s=1000.0)
    assert bottleneck(idle, 64, 110.0, 120.0).startswith("fetch: only 16%")
    assert bottleneck(replace(idle, prepare_s=300.0), 64, 110.0, 120.0).startswith("decode")


def test_time_outside_of_serving_is_named() -> None:
    assert bottleneck(BUSY, 64, 300.0, 320.0).startswith("commit and start: 67%")
    assert bottleneck(BUSY, 64, 100.0, 320.0) == "finding out what to describe"
    assert bottleneck(Tally(), 64, 0.0, 1.0) == "nothing to describe"


def test_costs_are_tokens_and_hours_at_their_prices() -> None:
    prices = CostConfig(input_per_million=1.0, output_per_million=10.0, gpu_hour=36.0)
    assert BUSY.cost(prices) == pytest.approx(2 + 1 + 1)
    settings = DescribeConfig(cost=prices)
    found = report(BUSY, settings, Wanted(1500, 1200, 7), 110.0, 120.0)
    assert found.figures["cost"] == pytest.approx(4)
    assert (found.counts["reused"], found.counts["left"]) == (300, 200)
    assert found.counts["items_without_picture"] == 7
    assert found.figures["in_flight"] == pytest.approx(60)


def test_slices_add_up_and_keep_the_most_frequent_causes() -> None:
    other = replace(BUSY, causes=(("parse", "no_json", 99, "other"), ("a", "b", 1, "c")))
    both = BUSY + other
    assert (both.rows, both.tokens_in, both.slices, both.servers) == (2000, 4_000_000, 2, 1)
    assert both.causes[0] == ("parse", "no_json", 139, "?")
    assert both.latency_ms == pytest.approx(2000)


def test_too_many_failures_name_the_causes_with_an_example_each() -> None:
    settings = DescribeConfig(max_failure_rate=0.05)
    with pytest.raises(FailureRateError, match=r"(?s)60 x fetch/missing.*no file.*40 x parse/"):
        check_failures(BUSY, settings)
    check_failures(BUSY, settings.model_copy(update={"max_failure_rate": 0.1}))
    check_failures(BUSY, settings.model_copy(update={"min_rows_for_failure_rate": 1001}))


def test_a_run_of_which_nothing_was_answered_fails_however_small_it_is() -> None:
    causes = (("request", "http_401", 2, "no such key"), ("request", "connect", 1, "refused"))
    settings, none = DescribeConfig(), Tally(failed=3, causes=causes)
    check_failures(none, settings)
    with pytest.raises(FailureRateError, match=r"(?s)None of 3 .*2 x request/http_401.*no such"):
        check_failures(none, settings, at_end=True)
    for well in (replace(none, described=1), replace(none, failed=4), Tally()):
        check_failures(well, settings, at_end=True)


def test_failures_are_too_many_when_all_other_requests_could_not_make_up_for_them() -> None:
    settings = DescribeConfig(max_failure_rate=0.05)
    assert too_many_failed(BUSY, settings, 1999)
    assert not too_many_failed(BUSY, settings, 2000)
    assert not too_many_failed(replace(BUSY, failed=99), settings, 99)


def test_what_failed_for_good_before_is_told_apart_from_what_is_used_again() -> None:
    found = report(BUSY, DescribeConfig(), Wanted(1500, 1200, 0, 0, 20), 110.0, 120.0)
    assert (found.counts["reused"], found.counts["failed_before"]) == (280, 20)


def test_the_progress_line_says_how_long_it_will_take() -> None:
    line = progress_line(BUSY, CostConfig(output_per_million=10.0), 0.25, 600.0)
    assert line == "25% described (1,000 requests, 1.7/s), 100 failed, cost 1.00, 30 min to go"


def test_before_the_first_answer_no_time_is_promised() -> None:
    assert progress_line(Tally(), CostConfig(), 0.0, 600.0).endswith("cost 0.00, no answer yet")


def test_more_requests_cost_what_those_before_did_each() -> None:
    prices = CostConfig(input_per_million=1.0, output_per_million=10.0, gpu_hour=36.0)
    assert BUSY.cost_of(500, prices) == pytest.approx(BUSY.cost(prices) / 2)


def test_a_metrics_page_becomes_a_sample_with_its_time() -> None:
    page = (
        "# HELP vllm:num_requests_running Number\n"
        'vllm:num_requests_running{engine="0",model_name="a b"} 3.0\n'
        'vllm:num_requests_running{engine="1",model_name="a b"} 2.0\n'
        'vllm:kv_cache_usage_perc{engine="0"} 1e-3\n'
        "python_gc_total 7\n"
    )
    found = sample_of(page)
    assert found is not None
    assert (found["running"], found["kv_cache_used"]) == (5.0, 0.001)
    assert found["sampled_at"] > 1e9
    assert sample_of("nothing here") is None

"""What the demo's summary says that no table holds."""

from __future__ import annotations

from vlm4rec_spark.demo.run import requests_sent
from vlm4rec_spark.runs import RunReport


def test_the_requests_of_both_passes_count_and_a_pass_that_was_not_made_sent_none() -> None:
    catalog = RunReport("catalog_job", {"describe.requests": 70, "describe.items": 9}, {}, 1.0, "")
    control = RunReport("catalog_job", {"describe.requests": 68}, {}, 1.0, "")
    assert requests_sent(catalog, control) == 138
    assert requests_sent(catalog, None) == 70
    assert requests_sent(RunReport("catalog_job", {"catalog.items": 9}, {}, 1.0, ""), None) == 0

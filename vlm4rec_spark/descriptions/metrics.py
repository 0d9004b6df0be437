"""What a vLLM server says it is doing: its Prometheus page, cut down to what we keep."""

from __future__ import annotations

import re
import time

NAMES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_cache_used",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:prefix_cache_hits_total": "prefix_hits",
    "vllm:prefix_cache_queries_total": "prefix_queries",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "generated_tokens",
}
"""Name on the page -> column of `engine_metrics`."""

LINE = re.compile(r"^([\w:]+)(?:\{[^}]*\})?\s+(\S+)")


def parse_metrics(page: str) -> dict[str, float]:
    """Return column -> value of what the page holds; engines of one server are added up.

    >>> parse_metrics('vllm:num_requests_running{engine="0",model_name="m"} 3.0')
    {'running': 3.0}
    """
    found: dict[str, float] = {}
    for line in page.splitlines():
        match = LINE.match(line)
        if match and match[1] in NAMES:
            name = NAMES[match[1]]
            found[name] = found.get(name, 0.0) + float(match[2])
    return found


def sample_of(page: str) -> dict[str, float] | None:
    """Return a sample with its time in seconds since 1970; None where the page says nothing."""
    found = parse_metrics(page)
    return found | {"sampled_at": time.time()} if found else None

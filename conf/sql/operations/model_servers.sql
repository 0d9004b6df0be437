-- What each local model server did between one sample and the next. A sample that finds none waiting
-- and less than four fifths of the most it ever ran stands for the time since the one before: the
-- server starved.
WITH intervals AS (
  SELECT *,
    (unix_micros(sampled_at) - lag(unix_micros(sampled_at)) OVER by_time) / 1e6 AS seconds,
    prompt_tokens + generated_tokens
      - lag(prompt_tokens + generated_tokens) OVER by_time AS tokens,
    preemptions - lag(preemptions) OVER by_time AS new_preemptions,
    max(running) OVER (PARTITION BY run_id, server) AS most_running
  FROM engine_metrics
  WINDOW by_time AS (PARTITION BY run_id, server ORDER BY sampled_at)
)
SELECT run_id, server, sampled_at, running, waiting, kv_cache_used,
  tokens / seconds AS tokens_per_s,
  IF(waiting = 0 AND running < 0.8 * most_running, seconds, 0) AS starved_s,
  new_preemptions AS preemptions,
  prefix_hits / nullif(prefix_queries, 0) AS prefix_hit_rate
FROM intervals
WHERE tokens >= 0  -- the first sample has none before it, and a server that died counts anew
ORDER BY run_id, server, sampled_at

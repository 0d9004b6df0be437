-- What descriptions cost, by category. Multiply the tokens with your price, or the model seconds
-- (divided by the requests in flight) with the price of a GPU second.
SELECT
  coalesce(category, '(none)') AS category,
  count(*) AS descriptions,
  count_if(status = 'error') AS failed,
  sum(tokens_in) AS tokens_in,
  sum(tokens_cached) AS tokens_cached,
  sum(tokens_out) AS tokens_out,
  round(sum(latency_ms) / 1000, 1) AS model_seconds,
  round(sum(tokens_in + tokens_out) / count(*), 1) AS tokens_per_description
FROM descriptions_log
GROUP BY coalesce(category, '(none)')
ORDER BY tokens_in DESC

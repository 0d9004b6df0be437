-- Runs of the last day in which more than 5 % of the requests failed.
SELECT
  run_id,
  started_at,
  counts['failed'] AS failed,
  counts['requests'] AS requests,
  round(counts['failed'] / counts['requests'], 4) AS failure_rate
FROM runs
WHERE stage = 'describe'
  AND started_at > current_timestamp() - INTERVAL 1 DAY
  AND counts['requests'] > 0
  AND counts['failed'] / counts['requests'] > 0.05

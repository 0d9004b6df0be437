-- Stages of the last day that took more than twice their median of 30 days.
WITH usual AS (
  SELECT stage, median(seconds) AS usual_seconds, count(*) AS n
  FROM runs
  WHERE started_at > current_timestamp() - INTERVAL 30 DAYS
  GROUP BY stage
)
SELECT r.run_id, r.stage, r.seconds, u.usual_seconds, r.bottleneck
FROM runs r
JOIN usual u ON u.stage = r.stage
WHERE r.started_at > current_timestamp() - INTERVAL 1 DAY
  AND u.n >= 5
  AND r.seconds > 2 * u.usual_seconds

-- The newest audited recall is more than one point under the mean of the ten runs before it.
WITH audited AS (
  SELECT
    run_id,
    started_at,
    figures['audited_recall'] AS recall,
    row_number() OVER (ORDER BY started_at DESC) AS age
  FROM runs
  WHERE stage = 'topk' AND figures['audited_recall'] IS NOT NULL
)
SELECT
  max(CASE WHEN age = 1 THEN run_id END) AS run_id,
  max(CASE WHEN age = 1 THEN recall END) AS recall,
  avg(CASE WHEN age BETWEEN 2 AND 11 THEN recall END) AS usual_recall
FROM audited
HAVING max(CASE WHEN age = 1 THEN recall END)
  < avg(CASE WHEN age BETWEEN 2 AND 11 THEN recall END) - 0.01

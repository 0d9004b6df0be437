-- Share of each described value among the items that were new in a quarter.
WITH settings AS (
  SELECT 0.0 AS min_confidence  -- as describe.min_confidence of the configuration
),
described AS (
  SELECT
    i.item_id,
    i.category,
    concat(year(i.first_seen), ' Q', quarter(i.first_seen)) AS season,
    attribute,
    seen.value AS value
  FROM items i
  JOIN descriptions d ON d.request_key = i.request_key AND d.status = 'ok'
  CROSS JOIN settings s
  LATERAL VIEW explode(d.attributes) a AS attribute, seen
  WHERE seen.value IS NOT NULL
    AND (seen.confidence IS NULL OR seen.confidence >= s.min_confidence)
)
SELECT
  season,
  category,
  attribute,
  value,
  count(*) AS items,
  round(count(*) / sum(count(*)) OVER (PARTITION BY season, category, attribute), 4) AS share
FROM described
GROUP BY season, category, attribute, value
ORDER BY season DESC, category, attribute, items DESC

-- Share of each described value among the items that were new in a quarter.
WITH described AS (
  SELECT
    i.item_id,
    i.category,
    concat(year(i.first_seen), ' Q', quarter(i.first_seen)) AS season,
    attribute,
    seen.value AS value
  FROM items i
  JOIN descriptions d ON d.request_key = i.request_key AND d.status = 'ok'
  LATERAL VIEW explode(d.attributes) a AS attribute, seen
  WHERE seen.value IS NOT NULL
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

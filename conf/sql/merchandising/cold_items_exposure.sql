-- Do new items get into lists? Items of the last 14 days of the catalogue beside all others.
WITH newest AS (
  SELECT max(first_seen) AS moment FROM items
),
listed AS (
  SELECT item_id, count(*) AS times, min(rank) AS best_rank
  FROM recommendations
  GROUP BY item_id
)
SELECT
  i.first_seen > n.moment - INTERVAL 14 DAYS AS is_new,
  count(*) AS items,
  count(l.item_id) AS listed_items,
  round(count(l.item_id) / count(*), 4) AS share_listed,
  round(coalesce(sum(l.times), 0) / count(*), 2) AS lists_per_item,
  percentile_approx(l.best_rank, 0.5) AS median_best_rank
FROM items i
CROSS JOIN newest n
LEFT JOIN listed l ON l.item_id = i.item_id
WHERE i.available
GROUP BY i.first_seen > n.moment - INTERVAL 14 DAYS

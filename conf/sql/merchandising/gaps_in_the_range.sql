-- Pairs of described values that many shoppers' lists hold and few available items offer.
WITH settings AS (
  SELECT 0.0 AS min_confidence  -- as describe.min_confidence of the configuration
),
words AS (
  SELECT i.item_id, i.category, i.available, concat(attribute, '=', seen.value) AS word
  FROM items i
  JOIN descriptions d ON d.request_key = i.request_key AND d.status = 'ok'
  CROSS JOIN settings s
  LATERAL VIEW explode(d.attributes) a AS attribute, seen
  WHERE seen.value IS NOT NULL
    AND (seen.confidence IS NULL OR seen.confidence >= s.min_confidence)
),
pairs AS (
  SELECT a.item_id, a.category, a.available, a.word AS first_word, b.word AS second_word
  FROM words a
  JOIN words b ON b.item_id = a.item_id AND a.word < b.word
),
wanted AS (
  SELECT p.category, p.first_word, p.second_word, count(DISTINCT r.user_id) AS shoppers
  FROM recommendations r
  JOIN pairs p ON p.item_id = r.item_id
  WHERE r.arm = 'profile' AND r.rank <= 10
  GROUP BY p.category, p.first_word, p.second_word
),
offered AS (
  SELECT category, first_word, second_word, count(*) AS items
  FROM pairs
  WHERE available
  GROUP BY category, first_word, second_word
)
SELECT
  w.category,
  w.first_word,
  w.second_word,
  w.shoppers,
  coalesce(o.items, 0) AS items,
  round(w.shoppers / greatest(coalesce(o.items, 0), 1), 1) AS shoppers_per_item
FROM wanted w
LEFT JOIN offered o
  ON o.category <=> w.category
  AND o.first_word = w.first_word
  AND o.second_word = w.second_word
ORDER BY shoppers_per_item DESC, w.shoppers DESC, w.first_word, w.second_word
LIMIT 200

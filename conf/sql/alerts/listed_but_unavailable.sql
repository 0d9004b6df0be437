-- Listed items that are not available any more: the lists are older than the catalogue.
SELECT r.item_id, count(*) AS lists
FROM recommendations r
JOIN items i ON i.item_id = r.item_id
WHERE NOT i.available
GROUP BY r.item_id

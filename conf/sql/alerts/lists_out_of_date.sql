-- No lists were made in the last 26 hours; a run that failed its recall audit makes none.
SELECT max(started_at) AS last_lists_made
FROM runs
WHERE stage = 'topk' AND map_contains_key(counts, 'list_rows')
HAVING max(started_at) IS NULL OR max(started_at) < current_timestamp() - INTERVAL 26 HOURS

"""Hand the results over: into a shop's PostgreSQL, and as files."""

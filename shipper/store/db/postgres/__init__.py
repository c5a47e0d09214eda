"""All that is so only with a PostgreSQL server."""

"""What is different on a PostgreSQL server."""

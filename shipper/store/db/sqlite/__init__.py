"""All that is so only with an SQLite file."""

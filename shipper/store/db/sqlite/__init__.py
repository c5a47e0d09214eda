"""What is different in an SQLite file."""

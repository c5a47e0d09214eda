"""The HTTP client, against servers that do what servers really do."""

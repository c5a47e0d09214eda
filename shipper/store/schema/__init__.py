"""The outbox's tables: their description, their revisions, and whether they are still intact."""

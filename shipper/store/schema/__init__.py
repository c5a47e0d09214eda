"""What the outbox looks like: its tables, its revisions, and whether it still looks like that."""

"""How an outbox is upgraded and repaired."""

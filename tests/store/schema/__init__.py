"""What the outbox looks like."""

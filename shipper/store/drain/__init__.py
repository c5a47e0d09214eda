"""What the daemon asks and writes on the way of an event: look, claim, record."""

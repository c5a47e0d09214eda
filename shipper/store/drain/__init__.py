"""What the daemon reads and writes on the way of an event: look, claim, record."""

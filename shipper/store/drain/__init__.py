"""What the daemon reads and writes to deliver an event: look, claim, record."""

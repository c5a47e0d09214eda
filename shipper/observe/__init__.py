"""What is known of an outbox and its daemon, and who is told of it: troubles, alarms, metrics."""

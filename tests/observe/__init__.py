"""What is known of an outbox."""

"""What a hostile member of the outbox's group can do, and what a hostile text can."""

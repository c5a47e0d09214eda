"""What keeps the place."""

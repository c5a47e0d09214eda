"""What keeps room: deleting events that have ended, and room on the disk."""

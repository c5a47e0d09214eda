"""What keeps the place: what is over is deleted, and there is room on the disk."""

"""Every command, as a shell calls it."""

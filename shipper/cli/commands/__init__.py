"""The commands, one module each or for each family."""

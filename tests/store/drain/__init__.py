"""The daemon's side."""

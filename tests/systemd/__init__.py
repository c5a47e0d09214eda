"""The unit under a real systemd."""

"""The local HTTP port."""

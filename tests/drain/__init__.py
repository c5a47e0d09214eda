"""The drain, in parts."""

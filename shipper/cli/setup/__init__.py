"""Putting shipper in its place: configuration, service, what other programs read."""

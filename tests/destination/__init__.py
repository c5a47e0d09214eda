"""The way to a destination, with real sockets."""

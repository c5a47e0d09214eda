"""The local HTTP port, on real sockets."""

"""The real process, from its start to its end, on real databases and sockets."""

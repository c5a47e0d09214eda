"""The local HTTP port: whether the daemon is alive, whether it is ready, and its metrics.

The port decides nothing about delivery and must never delay it: it reads the database seldom, with
a thread and a connection of its own, and answers with what it knows. Its modules must never be
imported unless a port is configured.
"""

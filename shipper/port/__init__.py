"""The local HTTP port: is it alive, is it ready, and its numbers for Prometheus.

It decides nothing about shipping and must never be in its way: it asks the database in a thread
and by a connection of its own, seldom, and answers a question with what is known already.
Nothing here is imported unless it is configured.
"""

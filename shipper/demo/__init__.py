"""`shipper demo`: everything in one command, offline. A shop, an outbox, the daemon, a bad API.

All parts are the real ones: the migrations, the daemon, the sandbox over a socket. Nothing here
may be needed by the product, and the demo must leave nothing behind unless it is told to.
"""

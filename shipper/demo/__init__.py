"""`shipper demo`: a shop, an outbox, the daemon and a failing API, with one command and offline.

All parts are the real ones: the migrations, the daemon, the sandbox over a socket. The product must
not depend on this package. The demo must leave no file behind, except with `--keep`.
"""

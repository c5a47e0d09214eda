"""The rules: what the daemon decides about events, lanes and links.

Everything here is pure: time and chance come in as arguments. It must never read a clock, a file, a
database or the network.
"""

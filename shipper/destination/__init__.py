"""All that speaks HTTP to a destination; nothing else may import httpx or httptools.

It decides nothing: what came back goes to `outcome` as a Reply or a Fault. It must never send an
event twice for one call, and never raise for anything that the network can do.
"""

from shipper.destination.client import Destination

__all__ = ["Destination"]

"""HTTP to a destination. No other package is allowed to import httpx or httptools.

It decides nothing about an answer: `outcome` gets a Reply or a Fault. It must never send an event
twice for one call, and never raise because of the network.
"""

from shipper.destination.client import Destination

__all__ = ["Destination"]

"""The drain: it claims events, sends them, and records what became of them.

It must never send an event without a claim on disk, and never free a place before the outcome of
its try is recorded.
"""

from shipper.drain.dispatcher import Dispatcher
from shipper.drain.route import Route
from shipper.drain.terms import Terms
from shipper.drain.wait import Rhythm

__all__ = ["Dispatcher", "Rhythm", "Route", "Terms"]

"""The drain: the tick that collects, records, claims, plans and hands out."""

from shipper.drain.dispatcher import Dispatcher
from shipper.drain.route import Route
from shipper.drain.terms import Terms
from shipper.drain.wait import Rhythm

__all__ = ["Dispatcher", "Rhythm", "Route", "Terms"]

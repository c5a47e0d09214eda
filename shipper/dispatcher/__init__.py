"""The drain: the tick that collects, records, claims, plans and hands out."""

from shipper.dispatcher.dispatcher import Dispatcher
from shipper.dispatcher.rest import Rhythm
from shipper.dispatcher.route import Route
from shipper.dispatcher.values import Terms

__all__ = ["Dispatcher", "Rhythm", "Route", "Terms"]

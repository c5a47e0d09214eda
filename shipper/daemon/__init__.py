"""Build a running daemon from settings. Only this layer knows how its parts fit together."""

from shipper.daemon.requests import Stop
from shipper.daemon.service import serve
from shipper.daemon.session import Session, open_session

__all__ = ["Session", "Stop", "open_session", "serve"]

"""The composition root: settings in, a running daemon out. Nothing below knows how it is wired."""

from shipper.daemon.requests import Stop
from shipper.daemon.service import serve
from shipper.daemon.session import Session, open_session

__all__ = ["Session", "Stop", "open_session", "serve"]

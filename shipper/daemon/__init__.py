"""Build a running daemon from settings. No layer below knows how the daemon is put together."""

from shipper.daemon.requests import Stop
from shipper.daemon.service import serve
from shipper.daemon.session import Session, open_session

__all__ = ["Session", "Stop", "open_session", "serve"]

"""What ends a session of the daemon, and what is to come after it."""

import asyncio

from shipper.config import Settings


class Stops:
    """What ends a session: a stop for good, or a wish to begin anew with new settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        """What the session works with: they say how long it may take to end."""
        self.event = asyncio.Event()
        self.reload = False
        self.renewed: Settings | None = None
        self.reason = ""

    def stop(self, reason: str) -> None:
        """End the session, and the service with it."""
        self.reload = False
        self.renewed = None
        self.reason = reason
        self.event.set()

    def renew(self, settings: Settings) -> None:
        """End the session, to go on with what its files hold by now; any other wish wins."""
        if not self.event.is_set():
            self.renewed = settings
            self.event.set()

    def restart(self) -> None:
        """End the session, to begin anew; a stop that was asked for already wins."""
        if not self.event.is_set():
            self.reload = True
            self.reason = "SIGHUP"
            self.event.set()

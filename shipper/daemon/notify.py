"""What systemd is told: that we are ready, what we are doing, and that the drain still turns.

sd_notify(3): datagrams to the socket in $NOTIFY_SOCKET; nobody listens where it isn't set.
"""

import os
import socket


class Notifier:
    """Sends to the service manager, if there is one. Never raises: nobody depends on it."""

    def __init__(self, address: str | None = None) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET") if address is None else address

    def __call__(self, **fields: object) -> None:
        """Send fields such as `READY=1`, `STATUS='Shipping'`, `WATCHDOG=1`."""
        if not self._address:
            return
        # A leading @ stands for the abstract namespace (unix(7)).
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(message.encode(), address)
        except OSError:
            return

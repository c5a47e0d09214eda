"""The checks before each transaction on an open connection to a server."""

import select
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection


class ServerSafeguard:
    """The checks of a server's connection, for one engine. There is no file."""

    def look(self) -> bool:
        """Return True: each statement shows whether the database is still there."""
        return True

    def is_alive(self, connection: Connection) -> bool:
        """Return False if the server, or a proxy before it, has closed the connection.

        A server sends nothing between two statements. So if there is something to read, this asks
        the server.
        """
        driver: Any = connection.connection.driver_connection
        if driver.closed:
            return False
        silent = select.poll()
        silent.register(driver.fileno(), select.POLLIN)
        if not silent.poll(0):
            return True
        # An empty statement begins no transaction; libpq notes whether the connection still works.
        driver.pgconn.exec_(b"")
        return not driver.closed

    def is_intact(self) -> bool:
        """Return True: no file lies beside a connection."""
        return True

    def is_unchanged(self, is_more: Callable[[], bool]) -> bool:  # noqa: ARG002
        """Return False: only `is_alive` shows it, and a statement of a server always waits."""
        return False

    def save(self, connection: Connection) -> None:
        """Do nothing: the server keeps what was committed."""

    def remember(self) -> None:
        """Do nothing: there is no file to remember."""

    def before_closing(self) -> None:
        """Do nothing: closing a connection writes nothing."""

    def after_closing(self) -> None:
        """Do nothing: there is no file to forget."""

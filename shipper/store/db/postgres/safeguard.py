"""What is looked at before each transaction on a connection to a server that stays open."""

import select
from typing import Any

from sqlalchemy import Connection


class ServerSafeguard:
    """The look at a server's connection, for one engine. No file belongs to it."""

    def look(self) -> bool:
        """Return True: the server answers for its database with each statement."""
        return True

    def is_alive(self, connection: Connection) -> bool:
        """Return False where the server, or a proxy before it, has hung up in the meantime.

        A server sends nothing between two statements. So where something can be read, the server
        is asked.
        """
        driver: Any = connection.connection.driver_connection
        if driver.closed:
            return False
        silent = select.poll()
        silent.register(driver.fileno(), select.POLLIN)
        if not silent.poll(0):
            return True
        # An empty statement begins no transaction; libpq notes what becomes of the connection.
        driver.pgconn.exec_(b"")
        return not driver.closed

    def is_intact(self) -> bool:
        """Return True: no file lies beside a connection."""
        return True

    def save(self, connection: Connection) -> None:
        """Do nothing: the server keeps what was committed."""

    def remember(self) -> None:
        """Do nothing: there is no file to remember."""

    def before_closing(self) -> None:
        """Do nothing: closing a connection writes nothing."""

    def after_closing(self) -> None:
        """Do nothing: there is no file to forget."""

"""What each database has to look at around a connection that stays open; `kept` asks it."""

from typing import Protocol

from sqlalchemy import Connection


class Safeguard(Protocol):
    """What is looked at around the connection that an engine keeps; see `kept.Kept`."""

    def look(self) -> bool:
        """Return whether the kept connection can be used; raises LeaseLost for another database."""

    def is_alive(self, connection: Connection) -> bool:
        """Return False where the other side has closed the connection in the meantime."""

    def is_intact(self) -> bool:
        """Return False where `save` has to be called before the connection is used."""

    def save(self, connection: Connection) -> None:
        """Save what was committed and would be lost; raises StoreUnavailable where it can't."""

    def remember(self) -> None:
        """Note what the connection that was just used has open."""

    def before_closing(self) -> None:
        """Do what has to be done before a connection is closed."""

    def after_closing(self) -> None:
        """Do what has to be done after the last connection of the engine is closed."""

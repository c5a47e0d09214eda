"""The checks around a connection that stays open; `kept` calls them."""

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection


class Safeguard(Protocol):
    """The checks around the connection that an engine keeps; see `kept.Kept`."""

    def look(self) -> bool:
        """Return whether the kept connection can be used; raises LeaseLost for another database."""

    def is_alive(self, connection: Connection) -> bool:
        """Return False if the other side has closed the connection in the meantime."""

    def is_intact(self) -> bool:
        """Return False if `save` has to be called before the connection is used."""

    def is_unchanged(self, is_more: Callable[[], bool]) -> bool:
        """Return whether `look` and `is_intact` would change nothing, without a wait.

        `is_more` returns whether something else beside the database has to be repaired.
        """

    def save(self, connection: Connection) -> None:
        """Save what was committed and would be lost; raises StoreUnavailable if that fails."""

    def remember(self) -> None:
        """Note which files the connection that was just used has open."""

    def before_closing(self) -> None:
        """Do what has to be done before a connection is closed."""

    def after_closing(self) -> None:
        """Do what has to be done after the last connection of the engine is closed."""

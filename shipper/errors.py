"""The failures that a person can act on, each with a hint and an exit status.

A failure that no operator can fix (a bug) is an AssertionError or another exception of Python: it
ends the process, and systemd restarts it. A message must never hold a payload or a secret.
"""

from typing import Any, ClassVar


class ShipperError(Exception):
    """A failure with a message for a person, a hint, and the exit status of the command."""

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFound(ShipperError):
    """The operator named an event, a key or another thing that doesn't exist."""


class InvalidEvent(ShipperError, ValueError):
    """An event breaks the contract; `violations` lists every breach in Ajv's format."""

    def __init__(
        self, message: str, violations: list[dict[str, Any]], hint: str | None = None
    ) -> None:
        super().__init__(message, hint)
        self.violations = violations


class UsageError(ShipperError):
    """The command line makes no sense."""

    exit_status = 2


class StoreUnavailable(ShipperError):
    """The database can't be reached, or the connection was lost; trying again may help."""

    exit_status = 69


class DiskFull(StoreUnavailable):
    """The database had no room for a write; nothing of the write was stored."""


class DatabaseAbandoned(StoreUnavailable):
    """The process has to end, so it no longer waits for the database."""


class OutboxHeld(ShipperError):
    """Another daemon holds this outbox.

    After `watched` seconds of silence in all, the other daemon counts as gone; `left` of them
    remain. `seems_over` says that its lease has expired by the server's clock, which may be wrong.
    """

    exit_status = 75

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        left: float = 0.0,
        watched: float = 0.0,
        seems_over: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.left = left
        self.watched = watched
        self.seems_over = seems_over


class NotWritten(ShipperError):
    """A command couldn't write its output; its work is done."""


class LeaseLost(ShipperError):
    """Another daemon has taken the outbox over: everything in memory is outdated."""

    exit_status = 75


class OutboxChanged(ShipperError):
    """The outbox was replaced, or gives out its ids again: everything in memory is outdated."""

    exit_status = 75


class AccessDenied(ShipperError):
    """The operating system or the database refuses a right that shipper needs."""

    exit_status = 77


class LoginRefused(AccessDenied):
    """The database server refuses this user and password; the operator may be changing them."""


class ConfigError(ShipperError):
    """The configuration is wrong; `problems` has one line per fault, with its place.

    Where the place isn't known, `setting` is the wrong setting, below its destination.
    """

    exit_status = 78

    def __init__(self, problems: list[str], hint: str | None = None, setting: str = "") -> None:
        super().__init__("\n".join(problems), hint)
        self.problems = problems
        self.setting = setting


class SchemaError(ShipperError):
    """The outbox doesn't exist, isn't shipper's, or has another version than this code."""

    exit_status = 78


class ForeignTrigger(SchemaError):
    """A trigger that the application put on shipper's tables fails; the outbox itself is right."""

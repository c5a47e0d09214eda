"""The few failures that somebody can act on, each with what to do about it and an exit status.

A failure that is nobody's to mend (a bug) is an AssertionError or whatever Python raises: it
ends the process, and systemd starts it anew. No message here may hold a payload or a secret.
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
    """What was asked for is not there."""


class InvalidEvent(ShipperError, ValueError):
    """An event breaks the contract; `violations` lists every breach in the shape of Ajv."""

    def __init__(
        self, message: str, violations: list[dict[str, Any]], hint: str | None = None
    ) -> None:
        super().__init__(message, hint)
        self.violations = violations


class UsageError(ShipperError):
    """The command line asks for something that makes no sense."""

    exit_status = 2


class StoreUnavailable(ShipperError):
    """The database can't be reached, or was lost on the way; trying again may help."""

    exit_status = 69


class DiskFull(StoreUnavailable):
    """The database had no room for what was to be written; nothing of it was."""


class GivenUp(StoreUnavailable):
    """Nobody waits for the database any more, whatever it is doing: the process is to end."""


class OutboxHeld(ShipperError):
    """Another daemon holds this outbox.

    `left` is for how many seconds more it has to be silent to be taken for gone, `watched` in how
    many it has to be in all; `seems_over` says that its time is over by the server's clock, which
    may be wrong.
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
    """What a command has to say couldn't be written; what it did is done."""


class LeaseLost(ShipperError):
    """Somebody else took over the outbox while we held it: whatever we know is stale."""

    exit_status = 75


class OutboxChanged(ShipperError):
    """The outbox isn't the one that we know, or gives its ids anew: what we remember is stale."""

    exit_status = 75


class AccessDenied(ShipperError):
    """The operating system or the database refuses us a right that we need."""

    exit_status = 77


class LoginRefused(AccessDenied):
    """A database server lets nobody in with this user and password; a new one may be on its way."""


class ConfigError(ShipperError):
    """The configuration is wrong; `problems` has one line for each fault, with its place."""

    exit_status = 78

    def __init__(self, problems: list[str], hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint)
        self.problems = problems


class SchemaError(ShipperError):
    """The outbox isn't there, isn't ours, or is of another version than this code."""

    exit_status = 78


class ForeignTrigger(SchemaError):
    """What the application has put on our tables fails; the outbox itself is what it should be."""

"""The result of a check: one line, and how to fix it. A check that fails is a result, too.

A result must never hold a secret or a payload.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from shipper.errors import ShipperError


class CheckLevel(Enum):
    """How bad a result is. Only a fault makes the exit status 1."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line: what was checked, what was found, and what to do about it."""

    level: CheckLevel
    name: str
    text: str
    fix: str | None = None


def well(name: str, text: str) -> CheckResult:
    """Return a result that all is well."""
    return CheckResult(CheckLevel.OK, name, text)


def warning(name: str, text: str, fix: str | None = None) -> CheckResult:
    """Return a result that deserves a look."""
    return CheckResult(CheckLevel.WARNING, name, text, fix)


def fault(name: str, text: str, fix: str | None = None) -> CheckResult:
    """Return a result that something is broken."""
    return CheckResult(CheckLevel.FAULT, name, text, fix)


def of_error(name: str, error: Exception) -> CheckResult:
    """Return the result of a check that raised; of a bug, only the type of the exception."""
    if isinstance(error, ShipperError):
        return fault(name, " ".join(error.message.splitlines()), error.hint)
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return fault(name, where + words_of(error))
    return fault(name, f"the check itself failed: {type(error).__name__}", "please report this bug")


def words_of(error: OSError) -> str:
    """Return the system's words for an error; asyncio puts an address in their place."""
    number = error.errno or 0
    return (os.strerror(number) if number > 0 else error.strerror) or type(error).__name__


def guarded(name: str, check: Callable[[], Iterable[CheckResult]]) -> Iterator[CheckResult]:
    """Yield the results of a check; an exception becomes a result under that name."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - the other checks have to be made all the same
        yield of_error(name, error)

"""Work in steps: a generator that stops wherever its next step may wait.

The runner decides for each step in which thread it runs; the work itself never knows. A
step must never be left out and never be run twice: work that isn't wanted any more is closed.
"""

from collections.abc import Generator
from enum import Enum
from typing import TypeAlias, TypeVar

T = TypeVar("T")


class Mark(Enum):
    """What the next step does."""

    WAIT = "wait"
    """It may wait for another process, or open a connection; no transaction is open."""
    COMMIT = "commit"
    """It makes a transaction durable, so it waits for the disk; the transaction is open."""
    AT_ONCE = "at once"
    """It waits for no other process and for no commit; no transaction is open before it."""


Steps: TypeAlias = Generator[Mark, None, T]


def whole(steps: Steps[T]) -> T:
    """Run all steps here, one after the other; return what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result

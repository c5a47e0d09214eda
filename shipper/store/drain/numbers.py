"""The delivery numbers: the order in which the events of a key ended; clocks can't show that order.

It decides which numbers a turn may give. In a file there is one daemon, and it counts. On a server
each daemon takes a block of numbers from a sequence, and a new block whenever it gets a shard: the
shard's last holder took its blocks before, so within a key the numbers increase. It must never give
a number twice.
"""

from collections import deque

from sqlalchemy import Engine

from shipper.store.db.dialect import Dialect
from shipper.store.db.statement import Statement
from shipper.store.db.transactions import writing

BLOCK = 4096
"""How many numbers the sequence `shipper_delivery` gives at a time."""
LAST_IN_BLOCKS = (
    f"SELECT CASE WHEN is_called THEN last_value + {BLOCK - 1} ELSE last_value - 1 END AS delivery"
    " FROM shipper_delivery"
)
"""Finds the last number of all blocks that were taken."""


class CountedNumbers:
    """The numbers of the only daemon: each turn goes on from the last one."""

    def forget(self) -> None:
        """Do nothing: the last turn says which number was the last."""

    def lacks(self, most: int) -> bool:  # noqa: ARG002
        """Return False: there is no end to counting."""
        return False

    def fetch(self, engine: Engine, most: int) -> None:
        """Do nothing."""

    def take(self, last: int, most: int) -> list[int]:
        """Return so many numbers after the last one."""
        return list(range(last + 1, last + 1 + most))


class BlocksOfNumbers:
    """The numbers of one daemon of several."""

    def __init__(self, dialect: Dialect) -> None:
        self._free: deque[int] = deque()
        self._next = Statement(dialect, "SELECT nextval('shipper_delivery')")

    def forget(self) -> None:
        """Give no number of the blocks so far any more."""
        self._free.clear()

    def lacks(self, most: int) -> bool:
        """Return whether another block is needed first."""
        return most > len(self._free)

    def fetch(self, engine: Engine, most: int) -> None:
        """Take as many blocks as are needed for so many numbers; raises StoreUnavailable."""
        # In a transaction: behind a pooler, what is outside of one has another program's settings.
        with writing(engine) as tx:
            while self.lacks(most):
                [first] = self._next.row(tx)
                self._free += range(first, first + BLOCK)

    def take(self, last: int, most: int) -> list[int]:  # noqa: ARG002
        """Return so many numbers, in order; each is given once."""
        return [self._free.popleft() for _ in range(most)]


def delivery_numbers(dialect: Dialect) -> CountedNumbers | BlocksOfNumbers:
    """Return where a daemon takes its numbers from."""
    return BlocksOfNumbers(dialect) if dialect.moves_shards else CountedNumbers()

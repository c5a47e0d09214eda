"""What this daemon is among those of its outbox, for the observers. It decides nothing."""

from collections.abc import Callable
from typing import Final, NamedTuple

from shipper.policy.shares import WHOLE, Shares


class Role(NamedTuple):
    """Asks the drain for this daemon's shards; `lease` is the length of its lease, in seconds."""

    shares: Callable[[], Shares] = lambda: WHOLE
    lease: float = 0.0

    def leads(self) -> bool:
        """Return whether this daemon does the chores that only one may do."""
        return self.shares().leads


ALONE: Final = Role()
"""The role of the only daemon of an outbox."""

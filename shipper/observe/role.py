"""What this daemon is among those of its outbox, for the observers. It decides nothing."""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from shipper.policy.shares import WHOLE, EndedDaemon, Shares


class Role(NamedTuple):
    """Asks the drain for this daemon's shards, and for the daemons that it has ended so far."""

    shares: Callable[[], Shares] = lambda: WHOLE
    ended: Callable[[], Iterable[EndedDaemon]] = tuple

    def leads(self) -> bool:
        """Return whether this daemon does the chores that only one may do."""
        return self.shares().leads


ALONE: Final = Role()
"""The role of the only daemon of an outbox."""

"""For how long the row of another daemon hasn't changed: only its silence shows that it has ended.

It decides by our own clock, because an administrator can set the server's. It must never count time
in which we haven't looked: then the database may have been away, and no daemon could write. What
each has seen before such a time says nothing, so each has its whole lease again.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from shipper.store.lease.lease import Owner

UNWATCHED: Final = 5.0
"""After so many seconds without an answered look nothing is known about the time between.

A daemon looks every second; while the database is away, it is asked every five seconds at last.
"""


class DaemonRow(NamedTuple):
    """The row of a daemon, and the number of its last turn.

    `seems_over` says whether its lease has ended by the server's clock.
    """

    token: int
    name: str
    owner: str | None
    expires: str
    ttl: float
    seems_over: bool
    turn: int | None

    @property
    def life(self) -> tuple[str, int | None]:
        """The values that a living daemon changes: `turn` with each turn, `expires` by renewing."""
        return self.expires, self.turn

    @property
    def stops(self) -> bool:
        """Whether it has said that it stops."""
        owner = Owner.read(self.owner)
        return owner is not None and owner.stops

    def __str__(self) -> str:
        """Return the daemon for a person."""
        return str(Owner.read(self.owner) or "another daemon")


class StillnessTimer:
    """Measures for how long rows of daemons haven't changed, from look to look."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: dict[int, tuple[object, float]] = {}
        self._looked_at = monotonic()

    def look(self, rows: Sequence[DaemonRow]) -> None:
        """Note what the database has just answered: the rows of all daemons."""
        now = self._monotonic()
        known = self._seen if now - self._looked_at <= UNWATCHED else {}
        self._seen = {row.token: _since(known, row, now) for row in rows}
        self._looked_at = now

    def left(self, row: DaemonRow) -> float:
        """Return after how many more seconds without a change its lease has ended.

        As of the last look, which has to have shown this row.
        """
        life, since = self._seen.get(row.token, (row.life, self._looked_at))
        silent = self._looked_at - since if life == row.life else 0.0
        return max(0.0, row.ttl - silent)


def _since(
    known: dict[int, tuple[object, float]], row: DaemonRow, now: float
) -> tuple[object, float]:
    before = known.get(row.token)
    return (row.life, now) if before is None or before[0] != row.life else before

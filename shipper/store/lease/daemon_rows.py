"""The rows of daemons, and for how long each hasn't changed. It decides nothing."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from shipper.store.lease.lease import Owner


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
        """The values that change while it lives: with each turn, or if there is none, in time."""
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
    """Measures by our own clock for how long the row of a daemon hasn't changed."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: dict[int, tuple[object, float]] = {}

    def left(self, row: DaemonRow) -> float:
        """Return after how many more seconds without a change its lease has ended."""
        before = self._seen.get(row.token)
        if before is None or before[0] != row.life:
            before = self._seen[row.token] = (row.life, self._monotonic())
        return max(0.0, before[1] + row.ttl - self._monotonic())

    def forget_others(self, rows: Sequence[DaemonRow]) -> None:
        """Forget the daemons that have no row any more."""
        there = {row.token for row in rows}
        self._seen = {token: seen for token, seen in self._seen.items() if token in there}

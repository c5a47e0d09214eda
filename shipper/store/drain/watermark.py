"""Up to which id the order of commits is settled (PostgreSQL). Pure.

PostgreSQL hands out an id before the commit, so a row with a smaller id may appear later. The
watermark is an id: every row up to it is either visible or will never be. It advances to the
highest id of some moment, once every transaction that ran at that moment has ended. Because the
column `tx` stands before `id`, a transaction has its number before it takes an id; so the watermark
sees every transaction that holds an id. On SQLite there is one writer at a time: ids are commit
order.

It must never rise above an id that may still become visible.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Watermark:
    """The id up to which the order of commits is settled, from snapshots of the database."""

    safe: int = 0
    _candidate: int = 0
    _fence: int = 0

    def resume(self, settled: int) -> None:
        """Take over the watermark of an earlier process: what is settled stays settled."""
        self.safe = max(self.safe, settled)

    def observe(self, highest: int, oldest: int, upcoming: int) -> None:
        """Learn from a snapshot: the highest visible id, and two numbers of transactions.

        `oldest` is the number of the oldest running transaction, or the next number if none runs;
        `upcoming` is a number that no transaction had yet when the snapshot was taken.
        """
        if upcoming < self._fence:
            self._candidate = self._fence = 0  # these numbers were another server's
        if self._candidate > self.safe and oldest >= self._fence:
            self.safe = self._candidate
        if highest > self.safe and self._candidate <= self.safe:
            self._candidate, self._fence = highest, upcoming
            if oldest >= upcoming:
                self.safe = highest

    @property
    def is_held_back(self) -> bool:
        """Return whether there are visible rows that wait for an open transaction."""
        return self._candidate > self.safe

"""Up to which id the order of commits is known (PostgreSQL). Pure.

Ids are handed out before commits, so a row with a smaller id may
appear later. The watermark is the highest id of which this is known: every id up to it is either
visible or will never be. It advances to the highest id seen at some moment once every
transaction that ran at that moment has ended. Because the
column `tx` stands before `id`, a transaction has its number before it takes an id, so none can
hold an id without being seen. On SQLite there is one writer at a time: ids are commit order.

It must never rise above an id that may still become visible.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Watermark:
    """How far the order of ids is settled. Pure; fed with snapshots of the database."""

    safe: int = 0
    _candidate: int = 0
    _fence: int = 0

    def resume(self, settled: int) -> None:
        """Take in what an earlier process had come to know: what is settled stays so."""
        self.safe = max(self.safe, settled)

    def observe(self, highest: int, oldest: int, upcoming: int) -> None:
        """Take in a snapshot: the highest visible id, the oldest running and the next transaction.

        `oldest` is the next one that will end where none runs; `upcoming` is a number that no
        transaction had yet when the snapshot was taken.
        """
        if upcoming < self._fence:
            self._candidate = self._fence = 0  # numbers of another server: they say nothing here
        if self._candidate > self.safe and oldest >= self._fence:
            self.safe = self._candidate
        if highest > self.safe and self._candidate <= self.safe:
            self._candidate, self._fence = highest, upcoming
            if oldest >= upcoming:
                self.safe = highest

    @property
    def is_held_back(self) -> bool:
        """Return whether rows are known that wait for an open transaction."""
        return self._candidate > self.safe

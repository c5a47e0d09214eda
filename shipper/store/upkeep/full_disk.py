"""Writing on a full disk, for as long as the reserve of an SQLite outbox lasts.

It decides when a piece of the reserve is freed: only after a write of the daemon failed because the
disk is full. The write is tried again at once, so that another program that fills the disk gets as
little of the piece as possible. It must never fail a write that would have succeeded without it.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from shipper.errors import DiskFull
from shipper.policy.event import Event
from shipper.policy.shares import Shares
from shipper.store.db.transactions import Follow
from shipper.store.drain.messages import Work
from shipper.store.drain.queue import Queue, ask_nothing
from shipper.store.upkeep.reserve import Reserve
from shipper.system.steps import Mark, Steps

T = TypeVar("T")


class QueueWithReserve:
    """A queue that writes on a full disk; `on_freed` is given the bytes of each piece."""

    def __init__(self, queue: Queue, reserve: Reserve, on_freed: Callable[[int], None]) -> None:
        self._queue = queue
        self._reserve = reserve
        self._on_freed = on_freed

    def steps(self, work: Work, follow: Follow = ask_nothing) -> Steps[list[Event]]:
        """Do a turn's work; see `Queue.steps`, which does nothing twice."""
        while True:
            try:
                return (yield from self._queue.steps(work, follow))
            except DiskFull as full:
                yield Mark.WAIT
                self._give(full, marks=bool(work.records))

    def renew(self) -> None:
        """Prolong the lease; see `Queue.renew`."""
        self._insist(self._queue.renew, marks=True)

    @property
    def attends(self) -> bool:
        """Whether several daemons can share the outbox; see `Queue.attends`."""
        return self._queue.attends

    @property
    def shares(self) -> Shares:
        """The shards that this daemon has; see `Queue.shares`."""
        return self._queue.shares

    def attend(self, gave: frozenset[int], *, stops: bool = False) -> Shares | None:
        """Give back these shards and take free ones; see `Queue.attend`."""
        return self.insist(partial(self._queue.attend, gave, stops=stops))

    def insist(self, write: Callable[[], T]) -> T:
        """Do any other write of the daemon; it can be repeated after it failed."""
        return self._insist(write, marks=False)

    def _insist(self, write: Callable[[], T], *, marks: bool) -> T:
        while True:
            try:
                return write()
            except DiskFull as full:
                self._give(full, marks=marks)

    def _give(self, full: DiskFull, *, marks: bool) -> None:
        """Free a piece of the reserve; raises the failure if nothing is left."""
        given = self._reserve.give(marks=marks)
        if not given:
            raise full
        self._on_freed(given)

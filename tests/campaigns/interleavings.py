"""Every order in which two applications and one daemon can take their steps, on PostgreSQL.

The steps of the daemon are its own: it looks, claims what it was shown, and records it as
delivered. Whatever the order and however the transactions end: everything that is committed is
delivered once, in the order of the ids, and nothing of what is rolled back is. That each *look* is
right in every order of two transactions' steps is shown by `tests/store/lease/test_fence.py`.
"""

import itertools
from collections.abc import Iterator, Sequence

from sqlalchemy import text

from shipper.policy.delivery import delivered
from shipper.policy.event import Event
from shipper.store.db.engine import open_engine
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Record, Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from tests.campaigns.figures import Figures
from tests.daemon.processes import PATIENCE
from tests.store.overlaps import Writer

NOW = 1_800_000_000.0
_DAEMON = ("look", "claim", "record")
ENDS = list(itertools.product(["commit", "rollback"], repeat=2))


class Shipping:
    """A daemon, a step at a time."""

    def __init__(self, queue: Queue, looks: Looks, destination: str) -> None:
        self._queue = queue
        self._looks = looks
        self.destination = destination
        self._shown: list[int] = []
        self._claimed: list[Event] = []
        self.sent: list[int] = []

    def step(self, name: str) -> None:
        """Do a step; without anything to do it does nothing, as a daemon would."""
        match name:
            case "look":
                self._looks.pulse()
                look = Look("pending", self.destination, 100)
                self._shown = [row.id for row in self._looks.look(look)]
            case "claim":
                wanted = [row for row in self._shown if row not in self.sent]
                if wanted and not self._claimed:
                    self._claimed = self._queue.turn(Work(now=NOW, wanted=wanted))
                    self.sent += [event.id for event in self._claimed]
            case "record":
                ended = [Record(event, delivered(0), NOW) for event in self._claimed]
                self._queue.turn(Work(now=NOW, records=ended))
                self._claimed = []

    def drain(self, events: int) -> None:
        """Go on until so many were sent: other business on the server may hold them back."""
        for _ in range(int(PATIENCE * 100)):
            for name in ("look", "claim", "record"):
                self.step(name)
            if len(self.sent) >= events:
                return


def orders(*actors: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Yield every order in which the steps of the actors can happen: (actor, step)."""
    if not any(actors):
        yield []
    for number, steps in enumerate(actors):
        if steps:
            rest = [other[1:] if n == number else other for n, other in enumerate(actors)]
            for tail in orders(*rest):
                yield [(number, steps[0]), *tail]


def interleavings(url: str, *, long: bool) -> Figures:
    """Go through all orders; with `long` the second application does something else first."""
    figures = Figures("interleavings of two applications and a daemon", 0)
    engines = [open_engine(url) for _ in range(3)]
    with engines[0].begin() as tx:
        tx.execute(text("CREATE TABLE business (n integer)"))
    queue, looks = Queue(engines[2], lease_ttl=3600.0), Looks(engines[2])
    queue.acquire(Owner.here())
    numbers = itertools.count()
    with engines[0].connect() as first, engines[1].connect() as second:
        writers = Writer(first), Writer(second)
        for one, two in ENDS:
            before = ("write",) if long else ()
            for steps in orders(("insert", one), (*before, "insert", two), _DAEMON):
                # Two that do the same are alike: half of their orders is all there is to see.
                if long or steps.index((0, "insert")) < steps.index((1, "insert")):
                    shipping = Shipping(queue, looks, f"d{next(numbers)}")
                    _play(figures, writers, shipping, steps)
    for engine in engines:
        engine.dispose()
    return figures


def _play(
    figures: Figures,
    writers: tuple[Writer, Writer],
    shipping: Shipping,
    steps: list[tuple[int, str]],
) -> None:
    for writer in writers:
        writer.destination, writer.committed = shipping.destination, []
    for actor, step in steps:
        if actor == 2:
            shipping.step(step)
        else:
            writers[actor].step(step)
    committed = sorted(writers[0].committed + writers[1].committed)
    shipping.drain(len(committed))
    figures.tried["orders"] += 1
    figures.expect(shipping.sent == committed, f"{steps}: {shipping.sent}, not {committed}")

"""Which daemon sent what: the books of a receiver that several daemons of one outbox send to.

It decides which repeats are explained. An event comes again if its answer never came whole, or if the
daemon that sent it was killed, stood still or was cut off from the database before it had to have
recorded the answer, and didn't end cleanly after that. No more events come again for one such trouble
than may be in flight. That another daemon is in trouble explains nothing, but for one event that it
sends in the moment in which it wakes: it was stopped between its last look at the clock and the write.
That repeats come before everything else of their keys, and that no two requests of a key overlap, is
the ledger's.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from shipper.daemon.stop_budget import STORE_GRACE
from shipper.sandbox.api import RequestInfo
from shipper.sandbox.ledger import AMBIGUOUS, Visit
from tests.campaigns.books import Books
from tests.campaigns.lives import Life
from tests.daemon.harness import API_ID

HEADER = "x-api-id"
RECORDED_WITHIN: Final = STORE_GRACE
"""Seconds from an answer until it is recorded, unless its daemon is in trouble."""
WAKES_WITHIN: Final = 0.2
"""Seconds from the end of a stop until the receiver has what was about to be written."""
_STOPPED = frozenset({"still", "asleep"})
_RECORDED = {"delivery.delivered": "delivered", "delivery.postponed": "postponed"}


@dataclass(slots=True)
class Trouble:
    """What happened to one daemon, in the time of the receiver's visits."""

    kind: str
    began: float
    ended: float | None = None
    """None while it lasts; that of a kill never ends."""


@dataclass(slots=True)
class Sender:
    """One process of a daemon."""

    number: int
    place: str
    life: Life
    machine: str
    troubles: list[Trouble] = field(default_factory=list)

    def outcomes(self) -> defaultdict[str, list[str | None]]:
        """Return what it says it has recorded of each event: one status for each try that ended.

        None is that of a try whose answer never came whole.
        """
        found: defaultdict[str, list[str | None]] = defaultdict(list)
        for line in self.life.lines:
            if (word := _RECORDED.get(line["event"])) is not None:
                gave_up = word == "postponed" and line["status_code"] is None
                found[str(line["event_id"])].append(None if gave_up else word)
        return found

    def log_of(self, key: str) -> str:
        """Return the lines of its log that say anything of an event or of itself, for a person."""
        lines = (line for line in self.life.lines if line.get("event_id") in {None, key})
        return " | ".join(str(line) for line in lines)[-3000:]

    def trouble_of(self, visit: Visit) -> Trouble | None:
        """Return the first trouble that can have kept it from recording the answer to a try.

        It wasn't over before the try, and began before the answer had to be recorded. A daemon that
        has ended cleanly has recorded all answers.
        """
        if self.life.status == 0:
            return None
        latest = (visit.ended or visit.began) + RECORDED_WITHIN
        found = (
            one
            for one in self.troubles
            if one.began <= latest and (one.ended is None or one.ended >= visit.began)
        )
        return next(found, None)

    def wakes_with(self, visit: Visit) -> int | None:
        """Return the number of the trouble in which the daemon was stopped as it sent this."""
        for number, one in enumerate(self.troubles):
            since = visit.began - (one.ended or visit.began + 1.0)
            if one.kind in _STOPPED and 0.0 <= since <= WAKES_WITHIN:
                return number
        return None

    def __str__(self) -> str:
        """Return it for a person."""
        troubles = ", ".join(
            f"{one.kind} {one.began:.2f}-{one.ended or 0:.2f}" for one in self.troubles
        )
        return f"{self.place} (number {self.number}, process {self.life.pid}, on {self.machine}: {troubles})"


def api_id(number: int) -> str:
    """Return by what the receiver tells processes apart: nothing that daemons compare."""
    return f"{API_ID}-{number}"


class SendersBooks(Books):
    """The books, with who sent each request."""

    def __init__(self) -> None:
        super().__init__()
        self.senders: dict[int, Sender] = {}
        self.repeats_by_trouble: Counter[tuple[int, int]] = Counter()
        """For the number of a process and of its trouble, how many events came again for it."""
        self.late: set[tuple[int, int]] = set()
        """The troubles whose process sent something as it woke, when another one had sent it."""
        self._sent_by: dict[int, int] = {}
        self._taken: defaultdict[str, list[Visit]] = defaultdict(list)

    def note_sender(self, request: RequestInfo) -> None:
        """Take in who has sent the request that was noted last."""
        number = request.headers.get(HEADER, "").rpartition("-")[2]
        self._sent_by[len(self.requests)] = int(number)

    def process(self, visit: Visit) -> None:
        """Note that an event was taken."""
        super().process(visit)
        self._taken[str(visit.key)].append(visit)

    def explain(self, at_most: int) -> Iterator[str]:
        """Yield each repeat that nothing explains, and each trouble that has too many."""
        again = self.repeats_by_trouble
        outcomes = {number: one.outcomes() for number, one in self.senders.items()}
        for key, visits in self._taken.items():
            for before, after in itertools.pairwise(visits):
                if before.status in AMBIGUOUS:
                    continue
                sender, by = (self.senders[self._sent_by[one.seq]] for one in (before, after))
                recorded = outcomes[sender.number][key]
                trouble = sender.trouble_of(before)
                what = f"{key}, answered {before.status} to {sender} at {before.began:.2f}"
                wakes = by.number, by.wakes_with(after)
                if by is not sender and "delivered" in recorded:
                    if wakes[1] is not None and wakes not in self.late:
                        self.late.add((by.number, wakes[1]))
                        continue
                    yield f"{what}, was recorded, and sent again by {by} at {after.began:.2f}"
                elif None in recorded:
                    recorded.remove(None)
                elif trouble is None:
                    yield f"{what}, was sent again by {by} at {after.began:.2f} without a trouble"
                    yield f"the log of {sender}: {sender.log_of(key)}"
                else:
                    again[sender.number, sender.troubles.index(trouble)] += 1
        for (number, which), count in again.items():
            if count > at_most:
                trouble = self.senders[number].troubles[which]
                yield f"{count} events came again after {trouble} of {self.senders[number]}"

"""What the receiver saw over many lives of the daemon, kept key by key.

It decides which repeats were to be expected: those after an answer that never came whole, and
those of events that a process had in flight when it was killed or stopped.
"""

from collections.abc import Callable, Iterable

from shipper.sandbox.ledger import AMBIGUOUS, GONE, Ledger, Visit
from tests.evidence import Request

# What the receiver did to an answer; an end that the sender made is none of these.
_SPOILT = AMBIGUOUS - {GONE}


class Books(Ledger):
    """A ledger that forgets nothing; of days of work it keeps no evidence (`keeps`)."""

    def __init__(self, *, keeps: bool = True) -> None:
        super().__init__()
        self.requests: list[Request] = []
        """Every request, as evidence for the invariants."""
        self._keeps = keeps
        self.taken: dict[str, Visit] = {}
        """The visit by which an event was taken last."""
        self.unexpected: list[str] = []
        self.moments: list[float] = []
        """When each request came, in seconds."""
        self._forgiven: set[str] = set()

    def begin(
        self,
        key: str | None,
        user: str | None,
        payload: bytes,
        now: float,
        is_open: Callable[[], bool],
    ) -> Visit:
        """Note a request."""
        self.moments.append(now)
        visit = super().begin(key, user, payload, now, is_open)
        if self._keeps:
            body, lane = payload.decode("utf-8", "replace"), user or 0
            one = Request(visit.seq, 0, "default", lane, 0, str(key), body, began=now)
            self.requests.append(one)
        return visit

    def process(self, visit: Visit) -> None:
        """Note that an event was taken, and whether it is a repeat that nothing explains."""
        super().process(visit)
        if self._keeps:
            self.requests[visit.seq - 1].received = float(self._counts["accepted"])
        key = str(visit.key)
        before = self.taken.get(key)
        if before is not None and before.status not in AMBIGUOUS and key not in self._forgiven:
            self.unexpected.append(f"{key} was sent again, although its answer came whole")
        self._forgiven.discard(key)
        self.taken[key] = visit

    def forgive(self, pending: Iterable[str]) -> set[str]:
        """Return which of the pending events were taken and answered whole; they may come again.

        To be called while the process is dead or stopped; what was returned before isn't again.
        """
        found = {
            key
            for key in pending
            if key in self.taken
            and self.taken[key].status not in _SPOILT
            and key not in self._forgiven
        }
        self._forgiven |= found
        return found

    def first_after(self, moment: float) -> float | None:
        """Return when the first request came after a moment."""
        # From the end: it is never far behind.
        found = None
        for at in reversed(self.moments):
            if at < moment:
                break
            found = at
        return found

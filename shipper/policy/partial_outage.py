"""How many lanes fail at the same time: one bad event, or a receiver that is partly down. Pure.

If one event makes the receiver fail, its lane fails again and again while all others are accepted.
If `CROWD_LANES` lanes or more have an event that failed and hasn't been accepted since, the
receiver is partly down (a shard, a region, one backend of many), although it accepts other events.
For as long as that lasts, no event is charged for a failure that can be the receiver's:

    lanes that fail now | outcome                     | charged, if there is a proof against it
    1 to 9              | any that reached it         | the event
    10 or more          | 5xx, timeout, cut off, …    | neither: a partial outage
    10 or more          | 4xx and 3xx except 408, 425 | the event: the answer is about this request

The last line distinguishes a firewall that rejects one payload in a hundred from a shard that is
down. If a lane fails again in a partial outage, that failure doesn't speak against the link.

A lane leaves the crowd when its event is accepted or ends, or when it hasn't failed for
`FORGOTTEN_AFTER` seconds, twice the default `max_delay`.

It decides only that an event is spared. It must never charge an event: `blame` does that.
"""

from shipper.policy.outcome import Kind, Outcome

CROWD_LANES = 10
FORGOTTEN_AFTER = 2 * 3600.0
_REMEMBERED = 4096
_ABOUT_THE_SERVER = frozenset({408, 425})


def is_definite(outcome: Outcome) -> bool:
    """Return whether an answer is about this one request rather than about the receiver."""
    status = outcome.status_code
    return status is not None and 300 <= status < 500 and status not in _ABOUT_THE_SERVER


class Crowd:
    """The lanes whose event failed and hasn't been accepted since, at most the latest 4096."""

    __slots__ = ("_failed",)

    def __init__(self) -> None:
        self._failed: dict[str | int, float] = {}  # lane → time of its last failure, oldest first

    def is_known(self, lane: str | int, outcome: Outcome, now: float) -> bool:
        """Return whether a partial outage is known to affect a lane that fails like this."""
        return lane in self._failed and self.spares(outcome, now)

    def failed(self, lane: str | int, outcome: Outcome, now: float) -> None:
        """Record a failure, if it reached the receiver and isn't about this one request.

        `now` is in monotonic seconds.
        """
        if outcome.kind is Kind.TRANSIENT and outcome.reached and not is_definite(outcome):
            self._failed.pop(lane, None)
            self._failed[lane] = now
            if len(self._failed) > _REMEMBERED:
                del self._failed[next(iter(self._failed))]

    def ended(self, lane: str | int) -> None:
        """Record that the lane's event was accepted, or is dead."""
        self._failed.pop(lane, None)

    def spares(self, outcome: Outcome, now: float) -> bool:
        """Return whether so many lanes fail that this failure is charged to no event."""
        while self._failed and now - next(iter(self._failed.values())) > FORGOTTEN_AFTER:
            del self._failed[next(iter(self._failed))]
        return len(self._failed) >= CROWD_LANES and not is_definite(outcome)

"""How many lanes fail at the same time: one bad event, or a receiver that is down in part. Pure.

An event that makes the receiver fail is single: its lane fails again and again while all others
are accepted. When `CROWD_LANES` lanes or more have an event that failed and hasn't been accepted
since, the receiver is down for some (a shard, a region, one backend of many), whatever it accepts
of the rest. Then no event is charged, for as long as that lasts:

    lanes that fail now | outcome                    | charged, if a witness speaks against it
    1 to 9              | any that reached somebody  | the event
    10 or more          | 5xx, timeout, cut off, …   | nobody: a partial outage
    10 or more          | 4xx and 3xx but 408, 425   | the event: a definite answer about a request

A lane that fails again in such an outage is no news: it says nothing against the link, either.

The last line is what tells a firewall that rejects one payload in a hundred from a shard that is
down. A lane leaves the crowd when its event is accepted or ends, or when it hasn't failed for
`FORGOTTEN_AFTER` seconds, twice the default `max_delay`.

It must never make an event pay, only spare it: `link` decides the rest.
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
    """The lanes whose event failed and hasn't been accepted since; the latest of them."""

    __slots__ = ("_failed",)

    def __init__(self) -> None:
        self._failed: dict[str | int, float] = {}  # lane → when, the longest ago first

    def is_known(self, lane: str | int, outcome: Outcome, now: float) -> bool:
        """Return whether a lane that fails like this is one of many that did before."""
        return lane in self._failed and self.spares(outcome, now)

    def failed(self, lane: str | int, outcome: Outcome, now: float) -> None:
        """Take in a failure; one that reached nobody, or that is about the request, tells nothing.

        `now` is in monotonic seconds.
        """
        if outcome.kind is Kind.TRANSIENT and outcome.reached and not is_definite(outcome):
            self._failed.pop(lane, None)
            self._failed[lane] = now
            if len(self._failed) > _REMEMBERED:
                del self._failed[next(iter(self._failed))]

    def ended(self, lane: str | int) -> None:
        """Take in that the lane's event was accepted, or is dead."""
        self._failed.pop(lane, None)

    def spares(self, outcome: Outcome, now: float) -> bool:
        """Return whether so many fail that nobody is charged with this failure."""
        while self._failed and now - next(iter(self._failed.values())) > FORGOTTEN_AFTER:
            del self._failed[next(iter(self._failed))]
        return len(self._failed) >= CROWD_LANES and not is_definite(outcome)

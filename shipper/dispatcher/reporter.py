"""Tells what the drain does: numbers to the tally, changes to the log, each of them once.

A batch line comes at most once a second for a destination, a reminder that a link is down at most
once a minute, and of a link that flaps only so many changes a minute are told, the rest counted:
an outage must not fill the disk that the outbox lives on.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shipper.delivery import Status
from shipper.dispatcher.route import Route, describe
from shipper.dispatcher.tally import Tally
from shipper.dispatcher.values import Settled
from shipper.errors import ShipperError
from shipper.logs import Log
from shipper.state import State

BATCH_EVERY = 1.0
REMIND_EVERY = 60.0
CHANGES_A_MINUTE = 10

_HINTS = {
    "http-401": "the API ID is wrong or was revoked: mend api_id (or the file it is read from)",
    "http-403": "the API ID may not do this: mend api_id (or the file it is read from)",
    "http-404": "nothing answers at this path: mend url",
    "tls": "the certificate isn't trusted: mend the clock, url or ca_file",
}


@dataclass(slots=True)
class _Told:
    """What the log knows of one destination."""

    state: State = State.READY
    at: float = 0.0
    probes: int = 0
    changes: deque[float] = field(default_factory=lambda: deque(maxlen=CHANGES_A_MINUTE))
    untold: int = 0
    batch: Counter[Status] = field(default_factory=Counter)
    batch_at: float = 0.0


class Reporter:
    """Writes to the log; keeps what it has told, so as not to tell it again."""

    def __init__(self, log: Log, tally: Tally) -> None:
        self._log = log
        self._tally = tally
        self._told: dict[str, _Told] = {}

    def recorded(self, destination: str, settled: Sequence[Settled]) -> None:
        """Take in outcomes that are on disk."""
        self._tally.recorded(destination, settled)
        told = self._told.setdefault(destination, _Told())
        for item in settled:
            status = item.record.verdict.status
            told.batch[status] += 1
            told.probes += status is Status.PENDING
            if self._log.debug or status is Status.DEAD:
                self._delivery(destination, item)

    def _delivery(self, destination: str, item: Settled) -> None:
        record, outcome = item.record, item.outcome
        fields = {
            "destination": destination,
            "id": record.event.id,
            "event_id": record.event.event_id,
            "attempts": record.verdict.attempts,
            "outcome": outcome.cause,
            "status_code": outcome.status_code,
            "duration_ms": round(item.seconds * 1000),
        }
        match record.verdict.status:
            case Status.DELIVERED:
                self._log("delivery.delivered", **fields)
            case Status.DEAD:
                self._log("delivery.dead", **fields, reason=describe(outcome))
            case _:
                self._log(
                    "delivery.postponed",
                    **fields,
                    reason=describe(outcome),
                    charged=record.verdict.charged,
                    wait_seconds=round(record.verdict.wait, 3),
                )

    def routes(self, routes: Iterable[Route], now: float) -> None:
        """Tell what has changed, if it is time."""
        for route in routes:
            told = self._told.setdefault(route.name, _Told())
            self._link(route, told, now)
            if told.batch and now - told.batch_at >= BATCH_EVERY:
                self._batch(route, told, now)

    def flush(self, routes: Iterable[Route]) -> None:
        """Tell what has been shipped since the last batch line; at the end."""
        for route in routes:
            if (told := self._told.get(route.name)) is not None and told.batch:
                self._batch(route, told, told.batch_at)

    def _batch(self, route: Route, told: _Told, now: float) -> None:
        if told.batch[Status.DELIVERED] or told.batch[Status.DEAD]:
            self._log(
                "batch.shipped",
                destination=route.name,
                delivered=told.batch[Status.DELIVERED],
                postponed=told.batch[Status.PENDING],
                dead=told.batch[Status.DEAD],
                in_flight=route.in_flight,
            )
        told.batch.clear()
        told.batch_at = now

    def _link(self, route: Route, told: _Told, now: float) -> None:
        link, state = route.link, route.link.shown
        wait = None if link.next_try_at is None else round(max(0.0, link.next_try_at - now), 1)
        if state is not told.state:
            if len(told.changes) == CHANGES_A_MINUTE and now - told.changes[0] < 60:
                told.untold += 1
                return
            told.changes.append(now)
            before, told.state, told.at, told.probes = told.state, state, now, 0
            untold, told.untold = told.untold, 0
            if state is State.PAUSED:
                self._log(
                    "link.paused",
                    destination=route.name,
                    reason=link.reason,
                    hint=_hint(link.reason),
                    next_try_seconds=wait,
                    suppressed=untold,
                )
            else:
                self._log(
                    "link.changed",
                    destination=route.name,
                    state=state.value,
                    before=before.value,
                    reason=link.reason,
                    next_try_seconds=wait,
                    suppressed=untold,
                )
        elif link.is_down and now - told.at >= REMIND_EVERY:
            self._log(
                "link.still_down",
                destination=route.name,
                state=state.value,
                reason=link.reason,
                seconds=round(now - link.since),
                suppressed=told.probes,
            )
            told.at, told.probes = now, 0

    def turned(self, seconds: float, now: float, lease_until: float) -> None:
        """Take in that an exchange with the database went well, and how long it took."""
        self._tally.turned(seconds, now, lease_until)

    def store_lost(self, error: ShipperError, retry: float, now: float, *, first: bool) -> None:
        """Tell that the database can't be reached; once for each time it is lost."""
        self._tally.lost(now)
        if first:
            self._log("store.lost", reason=error.message, retry_seconds=retry)

    def damaged(self, problems: Sequence[str]) -> None:
        """Tell what somebody has done to the outbox's tables; called when they have changed."""
        for problem in problems:
            self._log("store.damaged", problem=problem, hint="run: shipper db upgrade")

    def store_back(self, seconds: float) -> None:
        """Tell that the database is there again."""
        self._log("store.back", seconds=round(seconds, 1))


def _hint(reason: str | None) -> str:
    cause = (reason or "").partition(":")[0]
    return _HINTS.get(cause, "somebody has to look at the destination's url, api_id and account")

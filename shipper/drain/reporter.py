"""Report what the drain does: numbers to the tally, and each change once to the log.

It decides how often the log gets a line, because an outage must not fill the disk that the outbox
is on. For each destination there is at most one batch line a second, and one reminder a minute
that the link is down. If a link flaps, or runs of failed tries come and go, only a few changes a
minute are logged, and the others are counted. The same holds for the daemon's share of the outbox,
whose last change is logged in any case. It must never log a payload, a key or a secret.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shipper.advice import hint
from shipper.drain.route import Route
from shipper.drain.tally import Tally
from shipper.drain.terms import Ended
from shipper.errors import ShipperError
from shipper.logs import Log
from shipper.policy.delivery import Status
from shipper.policy.failing import describe
from shipper.policy.shares import SHARDS, WHOLE, EndedDaemon, Shares
from shipper.policy.state import State

BATCH_EVERY = 1.0
REMIND_EVERY = 60.0
CHANGES_A_MINUTE = 10
RUNS_A_MINUTE = 3
SHARES_A_MINUTE = 4
# Some messages hold a number: without a limit each new number would be a new reason.
REASONS = 8

_GOOD = frozenset({State.READY, State.RAMPING})


@dataclass(slots=True)
class _Logged:
    """What has been logged about one destination."""

    state: State = State.READY
    at: float = 0.0
    probes: int = 0
    changes: deque[float] = field(default_factory=lambda: deque(maxlen=CHANGES_A_MINUTE))
    suppressed: int = 0
    batch: Counter[Status] = field(default_factory=Counter)
    batch_at: float = 0.0
    run: int = 0
    """The number of the last run of failures, and below whether it has been logged."""
    is_run_logged: bool = False
    runs: deque[float] = field(default_factory=lambda: deque(maxlen=RUNS_A_MINUTE))
    suppressed_runs: int = 0
    failures: int = 0
    failing_since: float = 0.0


class Reporter:
    """Writes to the log, and remembers what it has logged, so that nothing is logged twice."""

    def __init__(self, log: Log, tally: Tally) -> None:
        self._log = log
        self._tally = tally
        self._logged: dict[str, _Logged] = {}
        self._reasons: set[str] = set()
        self._share = _numbers(WHOLE)
        self._shares_at: deque[float] = deque(maxlen=SHARES_A_MINUTE)

    def recorded(self, destination: str, ended: Sequence[Ended]) -> None:
        """Report outcomes that are on disk."""
        self._tally.recorded(destination, ended)
        logged = self._logged_of(destination)
        is_debug = self._log.debug
        for item in ended:
            status = item.record.verdict.status
            logged.batch[status] += 1
            if is_debug or status is not Status.DELIVERED:
                logged.probes += status is Status.PENDING
                if is_debug or status is Status.DEAD:
                    self._delivery(destination, item)

    def _logged_of(self, destination: str) -> _Logged:
        logged = self._logged.get(destination)
        if logged is None:
            logged = self._logged[destination] = _Logged()
        return logged

    def _delivery(self, destination: str, item: Ended) -> None:
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
        """Log the changes of each route, if it is time."""
        for route in routes:
            logged = self._logged_of(route.name)
            self._link(route, logged, now)
            self._failing(route, logged, now)
            if logged.batch and now - logged.batch_at >= BATCH_EVERY:
                self._batch(route, logged, now)

    def flush(self, routes: Iterable[Route]) -> None:
        """Log the events that ended since the last batch line; called at the end."""
        for route in routes:
            if (logged := self._logged.get(route.name)) is not None and logged.batch:
                self._batch(route, logged, logged.batch_at)

    def forget(self, route: Route) -> None:
        """Log the last batch of a route that has left; the next route of its name begins anew."""
        self.flush([route])
        self._logged.pop(route.name, None)

    def _batch(self, route: Route, logged: _Logged, now: float) -> None:
        if logged.batch[Status.DELIVERED] or logged.batch[Status.DEAD]:
            self._log(
                "batch.shipped",
                destination=route.name,
                delivered=logged.batch[Status.DELIVERED],
                postponed=logged.batch[Status.PENDING],
                dead=logged.batch[Status.DEAD],
                in_flight=route.in_flight,
            )
        logged.batch.clear()
        logged.batch_at = now

    def _link(self, route: Route, logged: _Logged, now: float) -> None:
        link, state = route.link, route.link.shown
        if state is not logged.state:
            if len(logged.changes) == CHANGES_A_MINUTE and now - logged.changes[0] < 60:
                logged.suppressed += 1
                return
            logged.changes.append(now)
            before, logged.state, logged.at, logged.probes = logged.state, state, now, 0
            suppressed, logged.suppressed = logged.suppressed, 0
            change = {} if state is State.PAUSED else {"state": state.value, "before": before.value}
            log = self._log.good if state in _GOOD else self._log
            log(
                "link.paused" if state is State.PAUSED else "link.changed",
                destination=route.name,
                **change,
                reason=link.reason,
                **_hint(route, link.reason),
                next_try_seconds=_wait(link.next_try_at, now),
                suppressed=suppressed,
            )
        elif link.is_down and now - logged.at >= REMIND_EVERY:
            self._log(
                "link.still_down",
                destination=route.name,
                state=state.value,
                reason=link.reason,
                **_hint(route, link.reason),
                seconds=round(now - link.since),
                suppressed=logged.probes,
            )
            logged.at, logged.probes = now, 0

    def _failing(self, route: Route, logged: _Logged, now: float) -> None:
        """Log once that tries fail, from the first one on, and once that a try was accepted.

        If the link went down at the same time, log only that.
        """
        failing = route.link.failing
        over = logged.run != failing.runs or not failing.failures
        if logged.is_run_logged and over:
            seconds = round(now - logged.failing_since, 1)
            self._log(
                "link.works", destination=route.name, failures=logged.failures, seconds=seconds
            )
            logged.is_run_logged = False
        if not failing.failures:
            return
        if logged.run != failing.runs:
            logged.run = failing.runs
            logged.failing_since = now if failing.since is None else failing.since
            self._log_run(route, logged, now)
        logged.failures = failing.failures

    def _log_run(self, route: Route, logged: _Logged, now: float) -> None:
        link = route.link
        if link.is_down:
            logged.is_run_logged = True
            return
        if len(logged.runs) == RUNS_A_MINUTE and now - logged.runs[0] < 60:
            logged.suppressed_runs += 1
            return
        logged.runs.append(now)
        logged.is_run_logged = True
        suppressed, logged.suppressed_runs = logged.suppressed_runs, 0
        self._log(
            "link.failing",
            destination=route.name,
            state=link.shown.value,
            failures=link.failing.failures,
            reason=link.failing.last_error,
            **_hint(route, link.failing.last_error),
            next_try_seconds=_wait(link.failing.next_try_at, now),
            suppressed=suppressed,
        )

    def shares(self, shares: Shares, now: float) -> None:
        """Log how many shards this daemon has, and how many daemons there are, if that changed.

        While shards change hands, it waits for the end of that.
        """
        is_moving = shares.gives or len(shares.held) < SHARDS // shares.daemons
        if is_moving or (share := _numbers(shares)) == self._share:
            return
        if len(self._shares_at) == SHARES_A_MINUTE and now - self._shares_at[0] < 60:
            return  # logged later, if it is still so
        self._shares_at.append(now)
        self._share = share
        ready = {} if shares.held else {"hint": _READY}
        self._log("daemon.shares", shards=len(shares.held), daemons=shares.daemons, **ready)

    def took_over(self, ended: Sequence[EndedDaemon]) -> None:
        """Log which daemons were ended, because they were dead or silent."""
        for one in ended:
            self._log(
                "daemon.took_over",
                name=one.name,
                process=one.process,
                maybe_received=one.recovered,
            )

    def turned(self, seconds: float, now: float, lease_until: float) -> None:
        """Count an exchange with the database that worked, and its duration."""
        self._tally.turned(seconds, now, lease_until)

    def waited(self, now: float) -> int:
        """Count a wait without an exchange; return how many there were."""
        return self._tally.waited(now)

    def store_lost(self, error: ShipperError, retry: float, now: float) -> None:
        """Log that the database can't be reached: once for each reason of an outage.

        The first reason says how the connection was lost ("the server is shutting down"); a later
        reason shows what the operator has to fix.
        """
        self._tally.lost(now, error.message)
        if error.message not in self._reasons and len(self._reasons) < REASONS:
            self._reasons.add(error.message)
            self._log("store.lost", reason=error.message, retry_seconds=retry)

    def damaged(self, problems: Sequence[str]) -> None:
        """Log the damage that another program has done to the outbox's tables."""
        for problem in problems:
            self._log("store.damaged", problem=problem, hint="run: shipper db upgrade")

    def unrecorded(self, routes: Iterable[Route], error: ShipperError) -> int:
        """Log how many sent events have an outcome that can't be recorded; return the number."""
        events = sum(route.in_flight for route in routes)
        if events:
            self._log("store.unrecorded", events=events, reason=error.message, hint=_AGAIN)
        return events

    def store_back(self, seconds: float) -> None:
        """Log that the database works again."""
        self._reasons.clear()
        self._log("store.back", seconds=round(seconds, 1))


_AGAIN = (
    "nothing is lost: the next start sends the events again that the receiver may have got, before"
    " the others of their keys and with the same Idempotency-Key"
)


_READY = "this daemon is ready to take over the shards of another one"


def _numbers(shares: Shares) -> tuple[int, int]:
    return len(shares.held), shares.daemons


def _hint(route: Route, reason: str | None) -> dict[str, str]:
    advice = hint(reason, route.place)
    return {} if advice is None else {"hint": advice}


def _wait(moment: float | None, now: float) -> float | None:
    return None if moment is None else round(max(0.0, moment - now), 1)

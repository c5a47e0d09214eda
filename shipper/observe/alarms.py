"""Which alarms are on, and which notices follow: an alarm began, goes on (once a day), or ended.

This module decides what is bad enough for an alarm and when a notice is due. It is pure: facts and
time are arguments. A notice must never repeat the one before it, and never hold the words of an
application or a receiver, because alerts go to a third party's server.

Of several daemons one leads, and sends the notices. The others judge the same facts in silence. So
the one that leads next knows what was sent before: it doesn't begin an alarm anew, and ends it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from shipper.config import AlertSettings
from shipper.destination.own_certificate import SCARCE_DAYS
from shipper.drain import Route
from shipper.observe.role import Role
from shipper.observe.situation import is_late
from shipper.observe.survey import UNCONFIGURED, Backlog, Disk, Figures
from shipper.observe.troubles import COMMIT_LONG, NAMED, OPEN_LONG, broken_rules
from shipper.policy.state import State
from shipper.store.report.budget import NEARLY, TIGHT_DAYS, Footprint
from shipper.store.report.daemons import RunningDaemon
from shipper.wording.quantities import UNITS, duration, lasting

AlarmChange = Literal["started", "worse", "reminder", "ended"]
Key = tuple[str, str | None]

REMIND_EVERY: Final = 86400.0
# Seconds between two notices of an alarm that keeps getting worse.
WORSE_EVERY: Final = 3600.0
# Seconds without the condition before an alarm ends: a condition that flickers is one alarm.
CALM: Final = 300.0
# Seconds. A database that is away for a shorter time is no alarm.
LOST_FOR: Final = 60.0
# Seconds after the end of its lease. Within that, systemd has started a crashed daemon again.
MISSING_FOR: Final = 60.0
# Seconds. By so much two daemons can differ in when they see the same, and the next one lead later.
APART: Final = 30.0
# If more notices wait to be sent, the oldest one is dropped.
UNSENT_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now. A higher `level` means that it got worse."""

    alarm: str
    destination: str | None
    text: str
    level: int = 0

    @property
    def key(self) -> Key:
        """Return the identity of the alarm."""
        return self.alarm, self.destination


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to send; `since` is in seconds since 1970."""

    change: AlarmChange
    condition: Condition
    since: float


@dataclass(frozen=True, slots=True)
class Known:
    """All facts that alarms are judged by; `figures` may be older than the loss of the database."""

    links: Mapping[str, tuple[State, str | None]]
    """As this daemon sees them; how all of them do is in the figures."""
    figures: Figures | None
    unanswered_for: float
    """The seconds for which the database hasn't answered the drain."""
    open_for: Callable[[float, float], float] | None = None
    """The seconds of a period in which a delivery window was open; see `situation.Hours`."""
    late_after: Mapping[str, float] = field(default_factory=dict)
    """By destination, the seconds after which its API may no longer want an event."""
    certificates: Mapping[str, float] = field(default_factory=dict)
    """By destination, the seconds that the certificate which this daemon shows is still valid."""


@dataclass(slots=True)
class _On:
    """An alarm that is on. Times are monotonic, except `since`."""

    condition: Condition
    since: float
    noticed_at: float
    seen_at: float
    level: int


class Alarms:
    """Remembers the alarms that are on, and the notices to send. It outlives a reload."""

    def __init__(self) -> None:
        self._on: dict[Key, _On] = {}
        self.unsent: deque[Notice] = deque(maxlen=UNSENT_MAX)
        """The notices that aren't sent yet; the sender removes each one."""
        # What the daemon that leads had to send, while this one didn't lead; since when.
        self._unsaid: deque[tuple[float, Notice]] = deque(maxlen=UNSENT_MAX)

    def due(self, notices: Iterable[Notice], now: float, role: Role) -> list[Notice]:
        """Return which notices this daemon sends: none, unless it leads.

        The daemon that led before may have ended without sending the newest ones, at most the
        length of a lease ago. These come first: better twice than never.
        """
        self._unsaid.extend((now, notice) for notice in notices)
        if not role.leads():
            return []
        fresh = [notice for at, notice in self._unsaid if now - at <= role.lease + APART]
        self._unsaid.clear()
        return fresh

    def update(self, conditions: Iterable[Condition], now: float, wall: float) -> list[Notice]:
        """Take in everything that is wrong now; return the notices that are due."""
        notices: list[Notice] = []
        for condition in conditions:
            alarm = self._on.get(condition.key)
            if alarm is None:
                self._on[condition.key] = _On(condition, wall, now, now, condition.level)
                notices.append(Notice("started", condition, wall))
                continue
            alarm.condition, alarm.seen_at = condition, now
            # A condition that got better can get worse again.
            alarm.level = min(alarm.level, condition.level)
            if (change := _change(alarm, now)) is not None:
                alarm.noticed_at, alarm.level = now, condition.level
                notices.append(Notice(change, condition, alarm.since))
        return notices + self._ended(now)

    def _ended(self, now: float) -> list[Notice]:
        over = [alarm for alarm in self._on.values() if now - alarm.seen_at >= CALM]
        for alarm in over:
            del self._on[alarm.condition.key]
        return [Notice("ended", alarm.condition, alarm.since) for alarm in over]


def _change(alarm: _On, now: float) -> AlarmChange | None:
    if alarm.condition.level > alarm.level and now - alarm.noticed_at >= WORSE_EVERY:
        return "worse"
    return "reminder" if now - alarm.noticed_at >= REMIND_EVERY else None


def conditions(known: Known, settings: AlertSettings) -> list[Condition]:
    """Return the condition of each fault."""
    found = [*_of_links(known), *_of_certificates(known.certificates)]
    waiting = [] if known.figures is None else [*_of_transactions(known.figures)]
    found += waiting
    # A commit that waits for a standby gets no answer either, and has an alarm of its own.
    if known.unanswered_for >= LOST_FOR and "commits" not in {each.alarm for each in waiting}:
        text = f"the database has not answered for {duration(round(known.unanswered_for))}"
        found.append(Condition("database", None, text))
    if known.figures is not None:
        found += _of_missing(known.figures.daemons)
        for backlog in known.figures.backlogs:
            age, bound = backlog.oldest_pending_seconds, settings.oldest_pending
            late = is_late(age, bound, known.open_for)
            found += _of_backlog(backlog, is_late=late)
            found += _of_late(backlog, known.late_after.get(backlog.destination))
        if known.figures.broken:
            text = f"{broken_rules(known.figures.broken)}; see: shipper verify"
            found.append(Condition("invariants", None, text))
        found += _of_footprint(known.figures.footprint)
        if known.figures.disk is not None:
            found += _of_disk(known.figures.disk, settings.disk_free)
    return found


def links_of(routes: Mapping[str, Route]) -> dict[str, tuple[State, str | None]]:
    """Return the state of each link, without an operator's hold."""
    return {name: (route.link.state, route.link.reason) for name, route in routes.items()}


def _of_missing(daemons: Iterable[RunningDaemon]) -> Iterator[Condition]:
    """Yield the condition of the daemons that are missing; one alarm, however many they are."""
    missing = [each.absence for each in daemons if _is_overdue(each)]
    if missing:
        more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        text = "; ".join(missing[:NAMED]) + more
        yield Condition("daemon_missing", None, text, level=len(missing))


def _is_overdue(daemon: RunningDaemon) -> bool:
    over = (daemon.last_seen_seconds or 0.0) - daemon.lease_seconds
    return daemon.is_missing and over >= MISSING_FOR


def _of_links(known: Known) -> Iterator[Condition]:
    """Yield the condition of each link that is paused for any of the daemons.

    This daemon's own view counts though the database is lost, or an operator holds the destination.
    """
    paused = {
        name: reason for name, (state, reason) in known.links.items() if state is State.PAUSED
    }
    for backlog in () if known.figures is None else known.figures.backlogs:
        if backlog.paused is not None:
            paused[backlog.destination] = backlog.paused
    for name, reason in paused.items():
        yield Condition("link_paused", name, f"the link {name} is paused: {reason}")


def _of_certificates(left: Mapping[str, float]) -> Iterator[Condition]:
    for name, seconds in left.items():
        if seconds < SCARCE_DAYS * UNITS["d"]:
            until = f"expires in {lasting(seconds)}" if seconds > 0 else "has expired"
            text = f"{name}: the certificate that shipper shows {until}"
            yield Condition("certificate", name, text, level=int(seconds <= 0))


def _of_transactions(figures: Figures) -> Iterator[Condition]:
    """Yield the conditions of transactions, by the bounds of `troubles`, without any names."""
    if figures.commit_seconds > COMMIT_LONG:
        text = "commits wait for a synchronous standby, the first for"
        text = f"{text} {duration(round(figures.commit_seconds))}: nothing is sent meanwhile"
        yield Condition("commits", None, text)
    if figures.held_back_seconds > OPEN_LONG:
        text = "the newest events wait for a transaction that has been open for"
        yield Condition("held_back", None, f"{text} {duration(round(figures.held_back_seconds))}")


def _of_backlog(backlog: Backlog, *, is_late: bool) -> Iterator[Condition]:
    name, oldest = backlog.destination, backlog.oldest_pending_seconds
    if name == UNCONFIGURED and backlog.pending:
        text = f"{backlog.pending} events pending for destinations that aren't configured"
        yield Condition("unconfigured", None, text)
    if is_late and oldest is not None:
        text = (
            f"{name}: the oldest of {backlog.pending} pending events has waited"
            f" {duration(round(oldest))}"
        )
        yield Condition("oldest_pending", name, text)
    if backlog.dead:
        text = f"{name}: dead letters: {backlog.dead}"
        yield Condition("dead_letters", name, text, level=backlog.dead)


def _of_late(backlog: Backlog, bound: float | None) -> Iterator[Condition]:
    """Yield the condition of events that are older than what a destination's `late_after` says.

    The hours outside the delivery windows count: the API judges an event by its age.
    """
    name, oldest = backlog.destination, backlog.oldest_pending_seconds
    if is_late(oldest, bound, None):
        text = (
            f"{name}: the oldest of {backlog.pending} pending events has waited"
            f" {duration(round(oldest or 0.0))}, longer than its late_after"
        )
        yield Condition("late", name, text)


def _of_footprint(taken: Footprint) -> Iterator[Condition]:
    share = taken.share or 0.0
    if share >= NEARLY or taken.is_over:
        yield Condition("budget", None, str(taken), level=int(share >= 1.0))


def _of_disk(disk: Disk, least: int) -> Iterator[Condition]:
    room = f"{disk.free / 1e9:.1f} GB free"
    if disk.free < least:
        yield Condition("disk", None, f"the outbox's disk is filling up: {room}")
    elif least and disk.days_left is not None and disk.days_left < TIGHT_DAYS:
        left = lasting(disk.days_left * UNITS["d"])
        text = f"without the API, the outbox's disk would be full in {left}: {room}"
        yield Condition("disk", None, text)

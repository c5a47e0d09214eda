"""Which alarms are on, and what is told of each: that it began, once a day, and that it is over.

It decides what is wrong enough for an alarm, and when somebody hears of it. Pure: what is known and
the time come in. It must never tell the same thing twice in a row, and never what an application
or a receiver wrote: an alarm goes to somebody else's server.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from shipper.config import AlertSettings
from shipper.drain import Route
from shipper.observe.survey import UNCONFIGURED, Backlog, Disk, Figures
from shipper.observe.troubles import COMMIT_LONG, OPEN_LONG
from shipper.policy.state import State
from shipper.store.report.budget import NEARLY, TIGHT_DAYS, Footprint
from shipper.wording.quantities import UNITS, duration, lasting

Change = Literal["started", "worse", "reminder", "ended"]
Key = tuple[str, str | None]

REMIND_EVERY: Final = 86400.0
# What gets worse all the time is told of this often.
WORSE_EVERY: Final = 3600.0
# What comes and goes is one alarm.
CALM: Final = 300.0
# A database that is away for a moment is nobody's matter.
LOST_FOR: Final = 60.0
# Where more than these wait to be told, the oldest goes.
UNTOLD: Final = 64


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now. It is worse than before where its `level` is higher."""

    alarm: str
    destination: str | None
    text: str
    level: int = 0

    @property
    def key(self) -> Key:
        """Return what makes it the same alarm."""
        return self.alarm, self.destination


@dataclass(frozen=True, slots=True)
class Notice:
    """What somebody is to be told; `since` is in seconds since 1970."""

    change: Change
    condition: Condition
    since: float


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known; `figures` may be from before the database was lost."""

    links: Mapping[str, tuple[State, str | None]]
    figures: Figures | None
    unanswered_for: float
    """For how many seconds the database hasn't answered the drain."""
    open_for: Callable[[float, float], float] | None = None
    """For how many of the last seconds a delivery window was open; see `situation.Hours`."""

    def is_late(self, age: float | None, bound: float | None) -> bool:
        """Return whether an event of that age waits for too long; closed hours are none."""
        if age is None or bound is None or age <= bound:
            return False
        return self.open_for is None or self.open_for(age, bound) > bound


@dataclass(slots=True)
class _On:
    """An alarm that is on. Times are monotonic, but for `since`."""

    condition: Condition
    since: float
    told_at: float
    seen_at: float
    level: int


class Alarms:
    """Remembers what has been told, and what is still to be told. It outlives a reload."""

    def __init__(self) -> None:
        self._on: dict[Key, _On] = {}
        self.untold: deque[Notice] = deque(maxlen=UNTOLD)
        """What nobody has taken yet; who tells a notice takes it out."""

    def update(self, conditions: Iterable[Condition], now: float, wall: float) -> list[Notice]:
        """Take in everything that is wrong now; return what is to be told."""
        notices: list[Notice] = []
        for condition in conditions:
            alarm = self._on.get(condition.key)
            if alarm is None:
                self._on[condition.key] = _On(condition, wall, now, now, condition.level)
                notices.append(Notice("started", condition, wall))
                continue
            alarm.condition, alarm.seen_at = condition, now
            # What has become better may become worse again.
            alarm.level = min(alarm.level, condition.level)
            if (change := _change(alarm, now)) is not None:
                alarm.told_at, alarm.level = now, condition.level
                notices.append(Notice(change, condition, alarm.since))
        return notices + self._ended(now)

    def _ended(self, now: float) -> list[Notice]:
        over = [alarm for alarm in self._on.values() if now - alarm.seen_at >= CALM]
        for alarm in over:
            del self._on[alarm.condition.key]
        return [Notice("ended", alarm.condition, alarm.since) for alarm in over]


def _change(alarm: _On, now: float) -> Change | None:
    if alarm.condition.level > alarm.level and now - alarm.told_at >= WORSE_EVERY:
        return "worse"
    return "reminder" if now - alarm.told_at >= REMIND_EVERY else None


def conditions(known: Known, settings: AlertSettings) -> list[Condition]:
    """Return everything that is wrong."""
    found = [*_of_links(known.links)]
    waiting = [] if known.figures is None else [*_of_transactions(known.figures)]
    found += waiting
    # A commit that waits for a standby gets no answer, and is told by itself.
    if known.unanswered_for >= LOST_FOR and "commits" not in {each.alarm for each in waiting}:
        text = f"the database has not answered for {duration(round(known.unanswered_for))}"
        found.append(Condition("database", None, text))
    if known.figures is not None:
        for backlog in known.figures.backlogs:
            is_late = known.is_late(backlog.oldest_pending_seconds, settings.oldest_pending)
            found += _of_backlog(backlog, is_late=is_late)
        if known.figures.broken:
            rules = ", ".join(known.figures.broken)
            text = f"what must hold of the outbox doesn't: {rules}; see: shipper verify"
            found.append(Condition("invariants", None, text))
        found += _of_footprint(known.figures.footprint)
        if known.figures.disk is not None:
            found += _of_disk(known.figures.disk, settings.disk_free)
    return found


def links_of(routes: Mapping[str, Route]) -> dict[str, tuple[State, str | None]]:
    """Return how the links are, an operator's word left aside."""
    return {name: (route.link.state, route.link.reason) for name, route in routes.items()}


def _of_links(links: Mapping[str, tuple[State, str | None]]) -> Iterator[Condition]:
    for name, (state, reason) in links.items():
        if state is State.PAUSED:
            yield Condition("link_paused", name, f"the link {name} is paused: {reason}")


def _of_transactions(figures: Figures) -> Iterator[Condition]:
    """Yield what `status` says of them, by the same bounds, without an application's words."""
    if figures.commit_seconds > COMMIT_LONG:
        text = "commits wait for a synchronous standby, the first for"
        told = f"{text} {duration(round(figures.commit_seconds))}: nothing is sent meanwhile"
        yield Condition("commits", None, told)
    if figures.held_back_seconds > OPEN_LONG:
        text = "the newest events wait for a transaction that is open for"
        yield Condition("held_back", None, f"{text} {duration(round(figures.held_back_seconds))}")


def _of_backlog(backlog: Backlog, *, is_late: bool) -> Iterator[Condition]:
    name, oldest = backlog.destination, backlog.oldest_pending_seconds
    if name == UNCONFIGURED and backlog.pending:
        text = f"{backlog.pending} pending for destinations that the configuration doesn't have"
        yield Condition("unconfigured", None, text)
    if is_late and oldest is not None:
        text = (
            f"{name}: the oldest of {backlog.pending} pending waits for {duration(round(oldest))}"
        )
        yield Condition("oldest_pending", name, text)
    if backlog.dead:
        text = f"{name}: dead letters: {backlog.dead}"
        yield Condition("dead_letters", name, text, level=backlog.dead)


def _of_footprint(taken: Footprint) -> Iterator[Condition]:
    share = taken.share or 0.0
    if share >= NEARLY or taken.is_over:
        yield Condition("budget", None, str(taken), level=int(share >= 1.0))


def _of_disk(disk: Disk, least: int) -> Iterator[Condition]:
    room = f"{disk.free / 1e9:.1f} GB free"
    if disk.free < least:
        yield Condition("disk", None, f"the outbox's disk fills up: {room}")
    elif least and disk.days_left is not None and disk.days_left < TIGHT_DAYS:
        text = (
            f"the outbox's disk is full in {lasting(disk.days_left * UNITS['d'])} offline: {room}"
        )
        yield Condition("disk", None, text)

"""What is wrong with an outbox, the worst first: one order for whoever shows it.

`status`, its plugin line, `top` and `doctor` all begin with the first of these. The order:

critical  the disk is full · commits wait for a standby · the daemon can't write · a promise is
          broken · nobody ships what is pending · a destination is paused · an event waits for too
          long · the budget is used up
warning   the disk fills up, or its WAL isn't cut · dead letters · what an operator or a dead
          letter holds · a destination is offline or throttled · its last tries failed · an open
          transaction keeps events back · the budget is nearly used up

It judges what `Facts` has, and never asks anybody; `situation` does. However many destinations rows
name, what is said stays short.
"""

from collections.abc import Collection, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from shipper import advice
from shipper.observe.situation import Facts, Room
from shipper.policy.state import State
from shipper.store.db import commits
from shipper.store.report.budget import Footprint, size
from shipper.store.report.silence import Plight
from shipper.store.report.status import NEVER_TRIED, Blocker, DestinationReport

NAMED = 3
"""So many held keys of a destination are named; the others are counted."""
OPEN_LONG = 30.0
# A standby that is there answers within milliseconds.
COMMIT_LONG = 5.0
WAL_LARGE = 64 << 20
_STRAYS = 10


class Level(IntEnum):
    """How bad it is; the value is the exit status of a monitoring plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Trouble(NamedTuple):
    """Something that is wrong, how bad it is, and what to do about it, if anything helps."""

    level: Level
    text: str
    fix: str | None = None


def judge(facts: Facts) -> list[Trouble]:
    """Return everything that is wrong, the worst first."""
    by_rank = [
        *_of_full_disk(facts.room),
        *_of_commits(facts.stalled),
        *_of_plight(facts.plight),
        *_of_promises(facts.broken),
        *_of_nobody(facts),
        *_of_links(facts, {State.PAUSED}),
        *_of_waiting(facts),
        *_of_budget(facts.taken),
        *_of_filling_disk(facts.room),
        *_of_dead_letters(facts),
        *_of_held_keys(facts),
        *_of_links(facts, {State.HELD}),
        *_of_links(facts, {State.OFFLINE, State.THROTTLED}),
        *_of_failing(facts),
        *_of_blockers(facts.blockers, facts.held_for),
    ]
    return sorted(by_rank, key=lambda trouble: -trouble.level)


def failed(report: DestinationReport) -> str:
    """Return how a destination has failed of late: `the last 2 tries failed: nothing listens …`."""
    return advice.failed(report.failures, report.last_error)


def stands(report: DestinationReport, between: str = ": ") -> str:
    """Return how a destination is, with why: `paused: HTTP 401 …`, `ready, but …`."""
    why = why_of(report)
    if not why or why.startswith(f"{report.state} "):
        return why or report.state
    return f"{report.state}{', but ' if report.looks_well else between}{why}"


def why_of(report: DestinationReport) -> str:
    """Return why a destination is as it is; nothing where all is well."""
    if report.is_untried:
        return NEVER_TRIED
    if report.is_failing:
        return failed(report)
    is_held = report.state == State.HELD.value
    return advice.down(report.reason, None if is_held else report.last_error)


def fix_of(report: DestinationReport, place: advice.Place) -> str | None:
    """Return what to do about how a configured destination is: about the newest of its errors."""
    return advice.hint(report.last_error, place) or advice.hint(report.reason, place)


def count(number: int, one: str) -> str:
    """Return a number with its noun: `1 key`, `2 keys`."""
    return f"{number} {one}" if number == 1 else f"{number:,} {one}s"


# -- one after the other --------------------------------------------------------------------------

_MAKE_ROOM = "make room on the disk; shipper prune --dry-run says what shipper could delete"


def _of_full_disk(room: Room | None) -> Iterator[Trouble]:
    if room is not None and room.free < room.full_below:
        text = f"the outbox's disk is full: {size(room.free)} free; applications can't write events"
        yield Trouble(Level.CRITICAL, text, _MAKE_ROOM)


def _of_plight(found: Plight | None) -> Iterator[Trouble]:
    if found is not None:
        fix = "journalctl -u shipper says what it has tried; where it stands still: restart it"
        yield Trouble(Level.CRITICAL, f"the daemon {found.told}", fix)


def _of_filling_disk(room: Room | None) -> Iterator[Trouble]:
    if room is None:
        return
    if room.full_below <= room.free < room.least:
        text = f"{size(room.free)} free on the outbox's disk, less than {size(room.least)}"
        yield Trouble(Level.WARNING, f"{text} ([alerts] disk_free)", _MAKE_ROOM)
    if not room.reserved and room.full_below <= room.free < room.reserve:
        text = f"no room for the reserve of {size(room.reserve)}: {size(room.free)} free"
        yield Trouble(Level.WARNING, text, f"{_MAKE_ROOM}; or set [space] reserve lower")
    if 0 < room.reserved < room.reserve:
        text = (
            f"the disk was full: {size(room.reserved)} of the reserve of {size(room.reserve)} left"
        )
        yield Trouble(Level.WARNING, text, _MAKE_ROOM)
    if room.wal > WAL_LARGE:
        text = f"the database's WAL has {size(room.wal)}: some process keeps a transaction open"
        yield Trouble(Level.WARNING, text, "shipper doctor")


def _of_promises(broken: Sequence[str]) -> Iterator[Trouble]:
    if broken:
        text = f"what must hold of the outbox doesn't: {', '.join(broken)}"
        yield Trouble(Level.CRITICAL, text, "shipper verify says which events")


def _of_nobody(facts: Facts) -> Iterator[Trouble]:
    pending = sum(report.pending for report in facts.reports)
    if pending and not facts.is_shipped:
        yield Trouble(Level.CRITICAL, f"{pending:,} pending and no shipper is running", facts.start)


def _of_links(facts: Facts, states: Collection[State]) -> Iterator[Trouble]:
    level = Level.CRITICAL if State.PAUSED in states else Level.WARNING
    found = [r for r in facts.reports if State(r.state) in states and _matters(r, facts)]
    for report in found[:_STRAYS]:
        yield Trouble(level, f"{report.name} is {stands(report)}", _fix(report, facts))
    if len(found) > _STRAYS:
        yield Trouble(level, f"and {len(found) - _STRAYS} more destinations")


def _matters(report: DestinationReport, facts: Facts) -> bool:
    # One that was taken out of the configuration is history, unless something waits for it.
    return report.name in facts.configured or bool(report.pending)


def _fix(report: DestinationReport, facts: Facts) -> str | None:
    if report.name not in facts.configured:
        return advice.unknown_destination(report.name, facts.configured, facts.config)
    if report.state == State.HELD.value:
        return f"shipper release --destination {report.name}"
    if report.state == State.THROTTLED.value:
        return None  # it goes on by itself
    place = next((place for place in facts.places if place.name == report.name), None)
    return None if place is None else fix_of(report, place)


def _of_waiting(facts: Facts) -> Iterator[Trouble]:
    for report in facts.reports:
        if facts.waits_too_long(report):
            text = f"{report.name}: the oldest is pending for {report.oldest_pending_seconds:.0f} s"
            yield Trouble(Level.CRITICAL, text, "shipper doctor names it")


def _of_budget(taken: Footprint | None) -> Iterator[Trouble]:
    if taken is not None and (taken.is_over or taken.is_scarce):
        level = Level.CRITICAL if taken.is_over else Level.WARNING
        yield Trouble(level, str(taken), "shipper prune, a shorter [retention], or a larger budget")


def _of_dead_letters(facts: Facts) -> Iterator[Trouble]:
    for report in facts.reports:
        if report.dead:
            text = f"{report.name}: {count(report.dead, 'dead letter')}"
            yield Trouble(Level.WARNING, text, "shipper dead list tells why")


def _of_held_keys(facts: Facts) -> Iterator[Trouble]:
    for report in facts.reports:
        if report.held_keys:
            keys = [h.ordering_key for h in facts.held if h.destination == report.name]
            names = named([key for key in keys if key is not None][:NAMED], report.held_keys)
            text = f"{report.name}: {count(report.held_keys, 'key')} held{names}"
            yield Trouble(
                Level.WARNING, text, "shipper hold --list, then: shipper release --key KEY"
            )


def named(keys: Sequence[str], total: int) -> str:
    """Return the first of some keys for a sentence: `: a, b and 12 more`."""
    if not keys:
        return ""
    more = f" and {total - len(keys)} more" if total > len(keys) else ""
    return f": {', '.join(keys)}{more}"


def _of_failing(facts: Facts) -> Iterator[Trouble]:
    for report in facts.reports:
        if report.is_failing and report.name in facts.configured:
            yield Trouble(Level.WARNING, f"{report.name} is {stands(report)}", _fix(report, facts))


def _of_commits(waiting: commits.Waiting | None) -> Iterator[Trouble]:
    if waiting is not None and waiting.seconds > COMMIT_LONG:
        yield Trouble(Level.CRITICAL, str(waiting), commits.FIX)


def _of_blockers(blockers: Sequence[Blocker], held_for: float) -> Iterator[Trouble]:
    if blockers and held_for > OPEN_LONG:
        yield held_back(blockers[0])


def held_back(oldest: Blocker) -> Trouble:
    """Return what is wrong where a transaction has been open for too long."""
    text = f"the newest events wait for an open transaction: {oldest}"
    return Trouble(Level.WARNING, text, "shipper doctor says how to end it")

"""The troubles of an outbox, worst first: one judgement and one order for every command.

`status`, its plugin line, `top` and `doctor` all begin with the first of these:

critical  the disk is full · commits wait for a standby · the daemon can't write · a rule of the
          outbox is broken · events are pending and no daemon runs · a destination is paused · an
          event waits for too long · the budget is used up
warning   the budget is nearly used up · the disk is filling up, or the WAL has grown large · dead
          letters · held keys · a daemon is missing while others ship · held destinations · offline
          or throttled destinations · a destination's last tries failed · an open transaction keeps
          events back

This module judges a `Situation`, which `situation` reads. It must never read anything itself. Its
texts must stay short, however many destinations the rows name.
"""

from collections.abc import Collection, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from shipper import advice
from shipper.observe.situation import Room, Situation
from shipper.policy.state import State
from shipper.store.db import commits
from shipper.store.report.budget import Footprint
from shipper.store.report.silence import Silence
from shipper.store.report.status import NEVER_TRIED, Blocker, DestinationReport
from shipper.wording.quantities import lasting, several, size

NAMED = 3
"""How many held keys of a destination are named; the others are counted."""
OPEN_LONG = 30.0
# Seconds. A standby that is present answers within milliseconds.
COMMIT_LONG = 5.0
WAL_LARGE = 64 << 20

BROKEN_RULES_FIX = "shipper verify says which events"
BUDGET_FIX = "shipper prune, a shorter [retention], or a larger [space] budget"
DEAD_LETTERS_FIX = "shipper dead list says why"
MISSING_DAEMON_FIX = "look at its machine: it can't reach the server, or hangs, or has ended"
SILENT_DAEMON_FIX = "see: journalctl -u shipper; if the daemon hangs, restart it"

_STRAYS = 10


class Severity(IntEnum):
    """How bad a trouble is; the value is the exit status of a monitoring plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Trouble(NamedTuple):
    """A fault, how bad it is, and what the operator can do about it; None if nothing."""

    level: Severity
    text: str
    fix: str | None = None


def judge(situation: Situation) -> list[Trouble]:
    """Return all troubles, the worst first."""
    by_rank = [
        *_of_full_disk(situation.room),
        *_of_commits(situation.stalled),
        *_of_silent_daemon(situation.silence),
        *_of_broken_rules(situation.broken),
        *_of_no_daemon(situation),
        *_of_links(situation, {State.PAUSED}),
        *_of_waiting(situation),
        *_of_budget(situation.taken),
        *_of_filling_disk(situation.room),
        *_of_dead_letters(situation),
        *_of_held_keys(situation),
        *_of_missing_daemons(situation),
        *_of_links(situation, {State.HELD}),
        *_of_links(situation, {State.OFFLINE, State.THROTTLED}),
        *_of_failing(situation),
        *_of_blockers(situation.blockers, situation.held_for),
    ]
    return sorted(by_rank, key=lambda trouble: -trouble.level)


def failed(report: DestinationReport) -> str:
    """Return how a destination has failed lately: `the last 2 tries failed: nothing listens …`."""
    return advice.failed(report.failures, report.last_error)


def state_of(report: DestinationReport, between: str = ": ") -> str:
    """Return a destination's state with the reason: `paused: HTTP 401 …`, `ready, but …`."""
    why = why_of(report)
    if not why or why.startswith(f"{report.state} "):
        return why or report.state
    return f"{report.state}{', but ' if report.looks_well else between}{why}"


def as_seen(report: DestinationReport, why: str) -> str:
    """Return the reason `why`, with the daemon that says so if others don't."""
    return f"{why}{', ' if why else ''}as {report.said_by} sees it" if report.said_by else why


def why_of(report: DestinationReport) -> str:
    """Return why a destination is in its state; empty if all is well."""
    if report.is_untried:
        return NEVER_TRIED
    if report.is_failing:
        return as_seen(report, failed(report))
    is_held = report.state == State.HELD.value
    return as_seen(report, advice.down(report.reason, None if is_held else report.last_error))


def fix_of(report: DestinationReport, place: advice.DestinationPlace) -> str | None:
    """Return what to do about a configured destination, judged by its newest error."""
    return advice.hint(report.last_error, place) or advice.hint(report.reason, place)


def broken_rules(broken: Sequence[str]) -> str:
    """Return the sentence about the rules of `verify` that are broken."""
    return f"rules of the outbox are broken: {', '.join(broken)}"


# -- one function for each kind of trouble ------------------------------------------------------

_MAKE_ROOM = "make room on the disk; shipper prune --dry-run says what shipper could delete"


def _of_full_disk(room: Room | None) -> Iterator[Trouble]:
    if room is not None and room.free < room.full_below:
        text = f"the outbox's disk is full: {size(room.free)} free; applications can't write events"
        yield Trouble(Severity.CRITICAL, text, _MAKE_ROOM)


def _of_silent_daemon(found: Silence | None) -> Iterator[Trouble]:
    if found is not None:
        yield Trouble(Severity.CRITICAL, f"the daemon {found.predicate}", SILENT_DAEMON_FIX)


def _of_filling_disk(room: Room | None) -> Iterator[Trouble]:
    if room is None:
        return
    if room.full_below <= room.free < room.least:
        text = f"{size(room.free)} free on the outbox's disk, less than {size(room.least)}"
        yield Trouble(Severity.WARNING, f"{text} ([alerts] disk_free)", _MAKE_ROOM)
    if not room.reserved and room.full_below <= room.free < room.reserve:
        text = f"no room for the reserve of {size(room.reserve)}: {size(room.free)} free"
        yield Trouble(Severity.WARNING, text, f"{_MAKE_ROOM}; or set [space] reserve lower")
    if 0 < room.reserved < room.reserve:
        left = f"{size(room.reserved)} of the reserve of {size(room.reserve)} are left"
        text = f"the disk was full: {left}"
        yield Trouble(Severity.WARNING, text, _MAKE_ROOM)
    if room.wal > WAL_LARGE:
        text = f"the database's WAL takes {size(room.wal)}: a process keeps a transaction open"
        yield Trouble(Severity.WARNING, text, "shipper doctor")


def _of_broken_rules(broken: Sequence[str]) -> Iterator[Trouble]:
    if broken:
        yield Trouble(Severity.CRITICAL, broken_rules(broken), BROKEN_RULES_FIX)


def _of_no_daemon(situation: Situation) -> Iterator[Trouble]:
    pending = sum(report.pending for report in situation.reports)
    if pending and not situation.is_shipped:
        yield Trouble(
            Severity.CRITICAL, f"{pending:,} pending and no daemon is running", situation.start
        )


def _of_missing_daemons(situation: Situation) -> Iterator[Trouble]:
    """Yield the daemons that are missing while others ship; `_of_silent_daemon` has the rest."""
    missing = [daemon for daemon in situation.daemons if daemon.is_missing]
    if not situation.is_shipped:
        return
    for daemon in missing[:NAMED]:
        yield Trouble(Severity.WARNING, daemon.absence, MISSING_DAEMON_FIX)
    if len(missing) > NAMED:
        yield Trouble(Severity.WARNING, f"and {len(missing) - NAMED} more daemons")


def _of_links(situation: Situation, states: Collection[State]) -> Iterator[Trouble]:
    level = Severity.CRITICAL if State.PAUSED in states else Severity.WARNING
    found = [r for r in situation.reports if State(r.state) in states and _matters(r, situation)]
    for report in found[:_STRAYS]:
        yield Trouble(level, f"{report.name} is {state_of(report)}", _fix(report, situation))
    if len(found) > _STRAYS:
        yield Trouble(level, f"and {len(found) - _STRAYS} more destinations")


def _matters(report: DestinationReport, situation: Situation) -> bool:
    # A destination that was removed from the configuration matters only while events wait for it.
    return report.name in situation.configured or bool(report.pending)


def _fix(report: DestinationReport, situation: Situation) -> str | None:
    if report.name not in situation.configured:
        return advice.unknown_destination(report.name, situation.configured, situation.config)
    if report.state == State.HELD.value:
        return f"shipper release --destination {report.name}"
    if report.state == State.THROTTLED.value:
        return None  # the daemon resumes by itself
    place = next((place for place in situation.places if place.name == report.name), None)
    return None if place is None else fix_of(report, place)


def _of_waiting(situation: Situation) -> Iterator[Trouble]:
    for report in situation.reports:
        pending = lasting(report.oldest_pending_seconds or 0.0)
        text = f"{report.name}: the oldest event has been pending for {pending}"
        if situation.is_late(report):
            text += ", longer than its late_after"
        elif not situation.waits_too_long(report):
            continue
        yield Trouble(Severity.CRITICAL, text, "shipper doctor names the event")


def _of_budget(taken: Footprint | None) -> Iterator[Trouble]:
    if taken is not None and (taken.is_over or taken.is_scarce):
        level = Severity.CRITICAL if taken.is_over else Severity.WARNING
        yield Trouble(level, str(taken), BUDGET_FIX)


def _of_dead_letters(situation: Situation) -> Iterator[Trouble]:
    for report in situation.reports:
        if report.dead:
            text = f"{report.name}: {several(report.dead, 'dead letter')}"
            yield Trouble(Severity.WARNING, text, DEAD_LETTERS_FIX)


def _of_held_keys(situation: Situation) -> Iterator[Trouble]:
    for report in situation.reports:
        if report.held_keys:
            keys = [h.ordering_key for h in situation.held if h.destination == report.name]
            names = named([key for key in keys if key is not None][:NAMED], report.held_keys)
            text = f"{report.name}: {several(report.held_keys, 'key')} held{names}"
            yield Trouble(
                Severity.WARNING, text, "shipper hold --list, then: shipper release --key KEY"
            )


def named(keys: Sequence[str], total: int) -> str:
    """Return the first keys, as the end of a sentence: `: a, b and 12 more`."""
    if not keys:
        return ""
    more = f" and {total - len(keys)} more" if total > len(keys) else ""
    return f": {', '.join(keys)}{more}"


def _of_failing(situation: Situation) -> Iterator[Trouble]:
    for report in situation.reports:
        if report.is_failing and report.name in situation.configured:
            yield Trouble(
                Severity.WARNING, f"{report.name} is {state_of(report)}", _fix(report, situation)
            )


def _of_commits(waiting: commits.StalledCommits | None) -> Iterator[Trouble]:
    if waiting is not None and waiting.seconds > COMMIT_LONG:
        yield Trouble(Severity.CRITICAL, str(waiting), commits.FIX)


def _of_blockers(blockers: Sequence[Blocker], held_for: float) -> Iterator[Trouble]:
    if blockers and held_for > OPEN_LONG:
        yield held_back(blockers[0])


def held_back(oldest: Blocker) -> Trouble:
    """Return the trouble that a transaction has been open for too long."""
    return Trouble(Severity.WARNING, newest_wait_for(oldest), "shipper doctor says how to end it")


def newest_wait_for(oldest: Blocker) -> str:
    """Return the sentence about the transaction that keeps the newest events back."""
    return f"the newest events wait for an open transaction: {oldest}"

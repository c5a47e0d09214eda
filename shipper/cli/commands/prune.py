"""`shipper prune`: delete finished events now, instead of waiting for the daemon to do it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import inf
from threading import Event
from typing import TypeVar

from shipper.cli.output.context import Context
from shipper.clock import Clock, SystemClock, iso
from shipper.config import RetentionSettings
from shipper.store.db.dialect import dialect_of
from shipper.store.db.opening import Database
from shipper.store.lease import clock_notes
from shipper.store.lease.lease import Owner
from shipper.store.upkeep import retention, sqlite_file, times
from shipper.store.upkeep.retention import Cutoffs, EndedGroup
from shipper.system.confirmed_time import Confirmed
from shipper.wording.quantities import several

T = TypeVar("T")

# Between two batches other writers have a turn: for as long as a batch took, but at least this long
# (in seconds).
_PAUSE_LEAST = 0.01
# In seconds: how far another machine's clock can be ahead, and how long a shop can be closed.
_AHEAD, _QUIET = 60.0, 3 * 86400.0

_SET = (
    "this machine's clock was set: events stay until their retention time has really passed;"
    " --trust-clock deletes by the clock"
)


def prune(*, dry_run: bool = False, trust_clock: bool = False, context: Context) -> None:
    """Delete finished events after the time set in [retention]; never a pending event.

    A running daemon does the same by itself, and can run meanwhile. Deleted events
    are counted as purged. The event_id of a deleted event is free again: if the
    application writes it once more, that is a new event.

    Parameters
    ----------
    dry_run
        Print what would be deleted; delete nothing.
    trust_clock
        Delete by this machine's clock, even if the daemon has noted that the clock was set, or the
        server's clock shows an earlier time.
    """
    keeps, clock = context.settings().retention, SystemClock()
    now = clock.wall()
    with context.engine() as engine:
        if (doubt := _doubt(times.newest(engine), now, keeps)) is not None:
            context.note(doubt)
        latest = inf if trust_clock else times.server_time(engine)
        since_set = {} if trust_clock else _noted(engine, clock, keeps, latest)
        if since_set:
            context.note(_SET)
        by_clock = Cutoffs.at(min(now, latest), delivered=keeps.delivered, dead=keeps.dead)
        cutoffs = replace(by_clock, **since_set)
        if dry_run:
            gone: Mapping[EndedGroup, int] = retention.due(engine, cutoffs)
        else:
            gone = _prune(engine, cutoffs, clock)
            _shrink(engine, clock)
    _report(context, gone, dry_run=dry_run)


def _doubt(newest: float | None, now: float, keeps: RetentionSettings) -> str | None:
    """Return a warning if this machine's clock doesn't fit the newest time in the outbox."""
    shortest = min((s for s in (keeps.delivered, keeps.dead) if s is not None), default=inf)
    if newest is None or now - max(shortest, _QUIET) <= newest <= now + _AHEAD:
        return None
    return (
        f"warning: the newest time in the outbox is {iso(newest)}, but this machine has {iso(now)}"
    )


def _noted(
    engine: Database, clock: Clock, keeps: RetentionSettings, latest: float
) -> dict[str, float]:
    """Return earlier cutoffs if the clock was set, by the daemon's notes.

    The time now is `latest` at the latest.
    """
    notes = clock_notes.read(engine, Owner.here().boot)
    if notes is None:
        return {}
    confirmed, now = Confirmed(clock), clock.wall()
    confirmed.begin(None, notes)
    kept = {"delivered": keeps.delivered, "dead": keeps.dead}
    known = {name: (s, confirmed.at_least(s)) for name, s in kept.items() if s is not None}
    return {name: min(at, latest) - s for name, (s, at) in known.items() if now - at > _AHEAD}


def _prune(engine: Database, cutoffs: Cutoffs, clock: Clock) -> Mapping[EndedGroup, int]:
    total: Counter[EndedGroup] = Counter()
    for batch in _unhurried(retention.prune(engine, cutoffs, clock.monotonic), clock):
        total += batch
    return total


def _shrink(engine: Database, clock: Clock) -> None:
    if dialect_of(engine).is_file:
        for _ in _unhurried(sqlite_file.give_back(engine), clock):
            pass
        sqlite_file.checkpoint(engine)


def _unhurried(steps: Iterator[T], clock: Clock) -> Iterator[T]:
    """Yield what the steps yield, with a pause after each: SQLite has no queue of writers."""
    pause = Event()
    while True:
        began = clock.monotonic()
        step = next(steps, None)
        if step is None:
            return
        yield step
        pause.wait(max(_PAUSE_LEAST, clock.monotonic() - began))


def _report(context: Context, gone: Mapping[EndedGroup, int], *, dry_run: bool) -> None:
    rows = sorted((kind.destination, kind.status, count) for kind, count in gone.items() if count)
    total = sum(count for _, _, count in rows)
    if context.json:
        events: dict[str, dict[str, int]] = {}
        for name, status, count in rows:
            events.setdefault(name, {})[status] = count
        context.emit({"dry_run": dry_run, "total": total, "events": events})
        return
    if rows:
        context.table(("destination", "status", "events"), rows)
    word = "would be deleted" if dry_run else "deleted"
    context.note(f"{several(total, 'event')} {word}")

"""`shipper events reroute`: send events to another destination than the one they were written for.

It decides how long to wait for what a running daemon has just then: as long as a try may take. A
destination that the configuration doesn't have is never written into an event.
"""

from collections.abc import Mapping
from contextlib import suppress
from threading import Event
from typing import Annotated, Literal

from cyclopts import Parameter

from shipper.cli.choice import (
    Cause,
    Destination,
    Idents,
    Yes,
    chosen,
    events_of,
    is_read,
    nearest,
    no_match,
    refuse_ambiguous,
)
from shipper.cli.context import Context, printable
from shipper.cli.events import Key, Since, Until
from shipper.cli.wording import several
from shipper.clock import SystemClock
from shipper.config.settings import DestinationSettings
from shipper.errors import NotFound, OutboxHeld, StoreUnavailable, UsageError
from shipper.store.engine import database_path
from shipper.store.giving_up import taken
from shipper.store.opening import Database
from shipper.store.reports import current_shipper
from shipper.store.reroute import SAMPLES, Movable, has_claims, movable, reroute
from shipper.store.selection import Selection

Movables = Literal["pending", "dead"]

# Seconds: between two looks at what a daemon still has; more than a try takes to be recorded.
_REST = 0.1
_MORE_THAN_A_TRY = 5.0


def send_elsewhere(  # noqa: PLR0913 - one for each option
    *idents: Idents,
    to: Annotated[str, Parameter(metavar="NAME", help="The destination that they go to now.")],
    status: Annotated[Movables | None, Parameter(help="Only those of this status.")] = None,
    key: Key = None,
    destination: Destination = None,
    cause: Cause = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[
        bool, Parameter(help="Say what would be sent elsewhere, and change nothing.")
    ] = False,
    yes: Yes = False,
    context: Context,
) -> int:
    """Send pending events and dead letters to another destination.

    For events of a destination that doesn't exist, or that is out of use. Each
    starts anew there, with a full budget; its history says where it came from.
    The events of a key keep their order. If the new destination has received
    later events of that key already, these arrive after them.

    A daemon may run. What it has in flight is waited for, as long as a try may
    take; exit status 75 where it isn't over by then, and that stays where it is.
    """
    filters = Selection(
        status=status, key=key, destination=destination, cause=cause, since=since, until=until
    )
    refuse_ambiguous(idents, filters)
    configured = context.settings().destinations
    if to not in configured:
        raise UsageError(
            f"no destination {printable(to)} is configured",
            f"there is: {', '.join(nearest(to, configured))}",
        )
    with context.engine() as engine:
        selection = chosen(engine, idents, filters, ("pending", "dead"))
        _refuse_there_already(engine, selection, to)
        found = movable(engine, selection, to)
        if not found.count:
            raise no_match(engine, context, filters, ("pending", "dead"))
        if dry_run:
            _tell(context, found, to, moved=0, dry_run=True)
            return 0
        context.confirm(_question(found, to), yes=yes or is_read(idents))
        moved, left = _move(engine, context, selection, to, _patience(configured))
    _tell(context, found, to, moved=moved, dry_run=False)
    if left:
        raise StoreUnavailable(
            f"{several(left, 'event')} not moved: the running daemon has them in flight",
            "say it again, or first: shipper hold --destination NAME",
        )
    return 0


def _refuse_there_already(engine: Database, selection: Selection, to: str) -> None:
    if selection.ids is None:
        return
    there = [e.id for e in events_of(engine, selection.ids) if e.destination == to]
    if there:
        some = ", ".join(map(str, there[:SAMPLES])) + (", ..." if len(there) > SAMPLES else "")
        raise NotFound(
            f"destination {to} has these already: {some}; nothing was changed",
            "a dead letter is tried there again by: shipper dead retry ID",
        )


def _patience(configured: Mapping[str, DestinationSettings]) -> float:
    longest: float = max(target.timeout for target in configured.values())
    return longest + _MORE_THAN_A_TRY


def _move(
    engine: Database, context: Context, selection: Selection, to: str, patience: float
) -> tuple[int, int]:
    """Move what fits; return how many were moved, and how many a daemon still has."""
    clock, nobody = SystemClock(), Event()
    if has_claims(engine) and current_shipper(engine) is None:
        # A daemon that died has left them: what it may have sent is marked by this.
        with suppress(OutboxHeld), taken(engine, database_path(context.settings().database.url)):
            pass
    moved, since = 0, clock.monotonic()
    for step in reroute(engine, selection, to, clock.wall()):
        moved += step.moved
        if step.claimed:
            if clock.monotonic() - since > patience:
                return moved, step.claimed
            nobody.wait(_REST)
        else:
            since = clock.monotonic()
    return moved, 0


def _question(found: Movable, to: str) -> str:
    places = ", ".join(f"{count:,} of {printable(name)}" for name, count in found.places)
    samples = ", ".join(map(str, found.samples)) + (", ..." if found.count > SAMPLES else "")
    more = f"; {found.dead:,} of them dead letters" if found.dead else ""
    twice = f"; {found.received:,} may have been received already" if found.received else ""
    return f"send {several(found.count, 'event')} ({places}) to {to}: {samples}{more}{twice}?"


def _tell(context: Context, found: Movable, to: str, *, moved: int, dry_run: bool) -> None:
    if context.json:
        context.emit(
            {
                "rerouted": moved,
                "to": to,
                "dry_run": dry_run,
                "found": found.count,
                "from": dict(found.places),
                "dead": found.dead,
                "maybe_received": found.received,
            }
        )
    elif dry_run:
        places = ", ".join(f"{count:,} of {printable(name)}" for name, count in found.places)
        context.tell(f"{several(found.count, 'event')} would go to {to}: {places}")
    else:
        context.say(f"{several(moved, 'event')} rerouted to {to}")
    if found.received:
        context.note(
            f"{several(found.received, 'event')} may have been received by the old destination too"
        )

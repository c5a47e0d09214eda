"""`shipper events reroute`: send events to another destination than the one they were written for.

A destination that the configuration doesn't have is never written into an event.
"""

from typing import Annotated, Literal

from cyclopts import Parameter

from shipper.cli.commands.events import Key, Since, Until
from shipper.cli.input.choice import (
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
from shipper.cli.input.recalled import carry_out, unfinished
from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.errors import NotFound, UsageError
from shipper.store.db.opening import Database
from shipper.store.db.selection import Selection
from shipper.store.operate.preview import SAMPLES
from shipper.store.operate.reroute import Movable, movable, reroute
from shipper.wording.quantities import several
from shipper.wording.safe_text import printable

Movables = Literal["pending", "dead"]


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
        steps = reroute(engine, selection, to, SystemClock().wall())
        moved, left = carry_out(engine, context, steps)
    _tell(context, found, to, moved=moved, dry_run=False)
    if left:
        raise unfinished(left, "moved")
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
